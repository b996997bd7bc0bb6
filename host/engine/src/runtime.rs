//! The CPU runtime: queries and components run on threads of their own, so that they never delay the threads that serve.

use std::{fmt, future::Future};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    task::JoinHandle,
};
use tokio_util::task::TaskTracker;

use crate::EngineError;

/// Plans are recursive.
const STACK_BYTES: usize = 8 << 20;

/// Owns the threads; they end when it is dropped.
pub(crate) struct Cpu {
    runtime: Option<Runtime>,
    handle: Handle,
    threads: usize,
}

impl Cpu {
    /// `threads` of 0 stands for the number of cores.
    pub(crate) fn start(threads: usize) -> Result<Self, EngineError> {
        let cores = || std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
        let threads = if threads == 0 { cores() } else { threads };
        let runtime = Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name("lakehouse-cpu")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(EngineError::Runtime)?;
        let handle = runtime.handle().clone();
        Ok(Self { runtime: Some(runtime), handle, threads })
    }

    pub(crate) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    pub(crate) fn threads(&self) -> usize {
        self.threads
    }

    /// Runs a future there; it is cancelled when this one is dropped.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T, EngineError> {
        let mut task = Cancelled(self.handle.spawn(work));
        (&mut task.0).await.map_err(|_| EngineError::Lost("a task on the query threads ended early"))
    }
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cpu")
    }
}

impl Drop for Cpu {
    /// A runtime may not wait for its threads inside another one.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

struct Cancelled<T>(JoinHandle<T>);

impl<T> Drop for Cancelled<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Changes on their way.
#[derive(Debug, Default)]
pub(crate) struct Changes(TaskTracker);

impl Changes {
    /// Runs a change to its end, whether or not the caller stays to hear of it.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        change: impl Future<Output = Result<T, EngineError>> + Send + 'static,
    ) -> Result<T, EngineError> {
        let span = tracing::Span::current();
        let change = tracing::Instrument::instrument(change, span);
        self.0.spawn(change).await.map_err(|_| EngineError::Lost("a change ended early"))?
    }

    /// Waits until none runs any more.
    pub(crate) async fn ended(&self) {
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::sync::Notify;

    use super::{Changes, Cpu};

    #[tokio::test]
    async fn work_on_the_cpu_runtime_ends_with_its_caller_and_a_change_does_not() {
        let cpu = Cpu::start(1).unwrap();
        let name = cpu.run(async { std::thread::current().name().map(str::to_owned) }).await.unwrap();
        assert_eq!(name.as_deref(), Some("lakehouse-cpu"));

        let held = Arc::new(());
        let inside = held.clone();
        let endless = cpu.run(async move {
            let _inside = inside;
            std::future::pending::<()>().await;
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), endless).await.is_err());
        for _ in 0..2_000 {
            if Arc::strong_count(&held) == 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(Arc::strong_count(&held), 1, "the work was not cancelled");

        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (wait, tell) = (go.clone(), done.clone());
        let changes = Changes::default();
        let change = changes.to_the_end(async move {
            wait.notified().await;
            tell.notify_one();
            Ok(())
        });
        assert!(tokio::time::timeout(Duration::from_millis(50), change).await.is_err());
        assert!(tokio::time::timeout(Duration::from_millis(50), changes.ended()).await.is_err());
        go.notify_one();
        tokio::time::timeout(Duration::from_secs(5), changes.ended()).await.expect("the change was waited for");
        tokio::time::timeout(Duration::from_secs(5), done.notified()).await.expect("the change ran on");
    }
}
