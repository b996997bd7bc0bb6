//! A connection, signed in, in a transaction that can only read.
//!
//! **Invariant**: a session that is dropped while it reads has its query cancelled; the database's notices are heard by nobody.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::SslMode;
use tokio_postgres::tls::TlsStream;
use tokio_postgres::{CancelToken, Client, Config, Connection, Error, RowStream, Statement};

use super::socket::{self, Bounded, MAX_ROW_MIB, Socket, is_too_long};
use super::tls::Connector;
use super::{PostgresSource, SourceError};

/// How long a cancellation, or a last word, is waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// A conversation with one database.
pub(super) struct Session {
    client: Client,
    driver: Option<JoinHandle<Result<(), Error>>>,
    source: Arc<PostgresSource>,
    connector: Connector,
    is_reading: bool,
}

impl Session {
    /// Connects, signs in and begins the transaction.
    pub(super) async fn open(source: &Arc<PostgresSource>) -> Result<Self, SourceError> {
        let after = source.connect_timeout;
        timeout(after, Box::pin(Self::sign_in(source)))
            .await
            .map_err(|_| SourceError::TooSlow { name: source.name.clone(), after })?
    }

    async fn sign_in(source: &Arc<PostgresSource>) -> Result<Self, SourceError> {
        let name = &source.name;
        let config = config(source).await?;
        let unreachable = |reason| SourceError::Unreachable { name: name.clone(), reason };
        let connector = Connector::new(&source.tls, &source.host).await.map_err(unreachable)?;
        let stream = stream(source, &connector).await.map_err(unreachable)?;
        let signed_in = config.connect_raw(stream, connector.clone()).await;
        let (client, connection) = signed_in.map_err(|error| SourceError::at_the_door(name, &error))?;
        if connection.parameter("is_superuser") == Some("on") {
            return Err(SourceError::Superuser { name: name.clone() });
        }
        let driver = Some(tokio::spawn(drive(connection)));
        let mut session = Self { client, driver, source: Arc::clone(source), connector, is_reading: false };
        match session.client.batch_execute(&beginning(source)).await {
            Ok(()) => Ok(session),
            Err(error) => Err(session.told(&error).await),
        }
    }

    /// The statement, checked by the database and not run.
    pub(super) async fn prepare(&mut self, statement: &str) -> Result<Statement, SourceError> {
        self.is_reading = true;
        let prepared = self.client.prepare(statement).await;
        self.is_reading = false;
        match prepared {
            Ok(prepared) => Ok(prepared),
            Err(error) => Err(self.told(&error).await),
        }
    }

    /// Begins to read.
    pub(super) async fn rows(&mut self, statement: &Statement) -> Result<RowStream, SourceError> {
        self.is_reading = true;
        match self.client.query_raw(statement, std::iter::empty::<i32>()).await {
            Ok(rows) => Ok(rows),
            Err(error) => Err(self.told(&error).await),
        }
    }

    /// The last row has come.
    pub(super) fn has_read(&mut self) {
        self.is_reading = false;
    }

    /// What an error was: the connection may know better than the request that it ended.
    pub(super) async fn told(&mut self, error: &Error) -> SourceError {
        let (name, after) = (&self.source.name, self.source.statement_timeout);
        if error.as_db_error().is_some() {
            self.is_reading = false;
            return SourceError::of(name, error, after);
        }
        let last_word = match self.driver.as_mut() {
            Some(driver) => timeout(PATIENCE, driver).await.ok().and_then(Result::ok),
            None => None,
        };
        match last_word {
            Some(Err(cause)) => {
                self.driver = None;
                if is_too_long(&cause) {
                    // The query goes on and is cancelled.
                    return SourceError::RowTooLarge { name: name.clone(), limit_mib: MAX_ROW_MIB };
                }
                self.is_reading = false;
                SourceError::of(name, &cause, after)
            }
            _ => SourceError::of(name, error, after),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if !self.is_reading {
            // The driver says goodbye and ends.
            return;
        }
        if let Some(driver) = &self.driver {
            driver.abort();
        }
        if let Ok(runtime) = Handle::try_current() {
            let (token, source, connector) = (self.client.cancel_token(), Arc::clone(&self.source), self.connector.clone());
            runtime.spawn(async move {
                if timeout(PATIENCE, cancel(&token, &source, connector)).await.is_err() {
                    tracing::warn!(source = %source.name, "a query could not be cancelled; its own timeout ends it");
                }
            });
        }
    }
}

/// A cancellation that fails leaves the query to its timeout.
async fn cancel(token: &CancelToken, source: &PostgresSource, connector: Connector) {
    if let Ok(stream) = stream(source, &connector).await {
        let _ = token.cancel_query_raw(stream, connector).await;
    }
}

/// With TLS the messages are inside it.
async fn stream(source: &PostgresSource, connector: &Connector) -> std::io::Result<Bounded<Socket>> {
    let stream = socket::open(source).await?;
    Ok(if connector.is_used() { Bounded::opaque(stream) } else { Bounded::new(stream) })
}

/// Moves messages until the conversation ends. Notices are dropped: they may quote values, and the library would log them.
async fn drive<T: TlsStream + Unpin>(mut connection: Connection<Bounded<Socket>, T>) -> Result<(), Error> {
    poll_fn(move |cx| {
        loop {
            match ready!(connection.poll_message(cx)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(error)),
                None => return Poll::Ready(Ok(())),
            }
        }
    })
    .await
}

async fn config(source: &PostgresSource) -> Result<Config, SourceError> {
    let mut config = Config::new();
    config.user(&source.user).dbname(&source.database).application_name("lakehouse");
    config.ssl_mode(if matches!(source.tls, super::Tls::Disable) { SslMode::Disable } else { SslMode::Require });
    if let Some(password) = &source.password {
        let read = password.read().await;
        config.password(read.map_err(|reason| SourceError::Password { name: source.name.clone(), reason })?);
    }
    Ok(config)
}

/// What every read begins with. The first query of a transaction fixes that it only reads: no function can turn that off after it.
fn beginning(source: &PostgresSource) -> String {
    let limit_ms = source.statement_timeout.as_millis();
    format!(
        "BEGIN READ ONLY; \
         SET LOCAL statement_timeout = {limit_ms}; \
         SET LOCAL idle_in_transaction_session_timeout = {limit_ms}; \
         SET LOCAL client_min_messages = error; \
         SET LOCAL timezone = 'UTC'; \
         SET LOCAL datestyle = 'ISO'; \
         SET LOCAL intervalstyle = 'iso_8601'; \
         SET LOCAL bytea_output = 'hex'; \
         SET LOCAL extra_float_digits = 1; \
         SELECT pg_catalog.set_config('client_connection_check_interval', '5s', true) \
         WHERE pg_catalog.current_setting('client_connection_check_interval', true) IS NOT NULL"
    )
}
