//! Who asks and whether they may, for one request among a thousand keys; in process, where a gateway would ask.

use std::{hint::black_box, sync::Arc, time::Instant};

use lakehouse_engine::{Action, Caller, Compiler, CreateKey, Engine, EngineOptions, Principal, Settings};
use lakehouse_types::{ProfileId, RequestId};
use serde_json::{from_value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::{
    bar::{Bars, median},
    host::Failure,
};

const KEYS: usize = 1_000;
const BATCHES: usize = 51;

pub(crate) async fn run(bars: &mut Bars) -> Result<(), Failure> {
    let folder = TempDir::new()?;
    let options = EngineOptions { compiler: Some(Compiler::in_process()), ..EngineOptions::default() };
    let engine = Engine::open(Settings::default().rooted(folder.path()), options).await?;
    let keys = keys(&engine).await?;
    let request_id = RequestId::fresh();
    let (mut ours, mut hashes) = (Vec::new(), Vec::new());
    for batch in 0..=BATCHES {
        let start = Instant::now();
        for key in &keys {
            let caller = engine.admit(Some(key.as_str()), None, request_id.clone()).await?;
            engine.require(&caller, Action::Query).await?;
            black_box(caller);
        }
        let own = start.elapsed();
        let start = Instant::now();
        for key in &keys {
            black_box(Sha256::digest(black_box(key.as_bytes())));
        }
        let bare = start.elapsed();
        // The first batch warms both.
        if batch > 0 {
            ours.push(own.as_secs_f64() * 1e6 / KEYS as f64);
            hashes.push(bare.as_secs_f64() * 1e6 / KEYS as f64);
        }
    }
    engine.shutdown().await?;
    let beside = format!(
        "us a request; {KEYS} keys, each once in a batch, median of {BATCHES}; SHA-256 of the key alone {:.2} us",
        median(hashes)
    );
    bars.at_most("auth.us", median(ours), 50.0, &beside);
    Ok(())
}

/// Keys that may read one dataset each.
async fn keys(engine: &Arc<Engine>) -> Result<Vec<String>, Failure> {
    let admin = Caller {
        principal: Arc::new(Principal::local_admin()),
        profile: ProfileId::default_profile(),
        request_id: RequestId::fresh(),
    };
    let mut keys = Vec::with_capacity(KEYS);
    for n in 0..KEYS {
        let grants = json!([{ "dataset": format!("d{n}"), "verbs": ["read"] }]);
        let create: CreateKey = from_value(json!({ "name": format!("reader-{n}"), "role": "reader", "grants": grants }))?;
        keys.push(engine.create_key(&admin, create).await?.key);
    }
    Ok(keys)
}
