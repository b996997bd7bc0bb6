//! TLS by config, for HTTP and Flight SQL, and a certificate that is renewed while the server runs.

use std::{fs, path::Path, time::Duration};

use reqwest::{Certificate, Client};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::{Instant, sleep},
};

use crate::{
    lake::{ADMIN_KEY, Lake, Options},
    python,
};

/// The server looks every 5 s, and wants files that are still for one.
const RENEWED_WITHIN: Duration = Duration::from_secs(30);

const SECURE: &str = r#"
import sys
import adbc_driver_flightsql.dbapi as flightsql
from adbc_driver_flightsql import DatabaseOptions
from adbc_driver_manager import Error
uri, certificate, key = sys.argv[1:]
options = {DatabaseOptions.AUTHORIZATION_HEADER.value: f"Bearer {key}", DatabaseOptions.TLS_ROOT_CERTS.value: open(certificate).read()}
def ask(uri, options):
    with flightsql.connect(uri, db_kwargs=options) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT 1 AS one")
        return cursor.fetchall()
assert ask(uri, options) == [(1,)]
for uri, options in [(uri, {**options, DatabaseOptions.TLS_ROOT_CERTS.value: ""}), (uri.replace("grpc+tls", "grpc"), options)]:
    try:
        ask(uri, options)
    except Error:
        continue
    raise AssertionError("a connection without trust, or without TLS, was taken")
"#;

/// A new certificate of this machine, in the folder's two files; as PEM.
fn renew(folder: &Path) -> String {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).expect("a certificate");
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).expect("a file");
    fs::write(folder.join("cert.pem"), made.cert.pem()).expect("a file");
    made.cert.pem()
}

fn trusting(certificate: &str) -> Client {
    let root = Certificate::from_pem(certificate.as_bytes()).expect("PEM");
    Client::builder().no_proxy().tls_certs_only([root]).timeout(Duration::from_secs(20)).build().expect("a client")
}

async fn is_healthy(client: &Client, url: &str) -> bool {
    client.get(format!("{url}/health")).send().await.is_ok_and(|answer| answer.status().is_success())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ports_speak_tls_and_a_renewed_certificate_is_taken_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = renew(folder.path());
    let (cert, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    let config = format!("[tls]\ncert_file = \"{}\"\nkey_file = \"{}\"\n", cert.display(), key.display());
    let options = Options { config: Some(config), args: vec!["--flight", "127.0.0.1:0"], ..Options::default() };
    let lake = Lake::start_with(options).await;
    let url = lake.url.clone();
    assert!(url.starts_with("https://"), "{url}");
    let client = trusting(&first);
    let answer = client.get(format!("{url}/admin/keys")).bearer_auth(ADMIN_KEY).send().await.expect("an answer");
    assert_eq!(answer.status(), 200);
    assert!(!is_healthy(&Client::builder().no_proxy().build().unwrap(), &url).await, "a stranger's certificate is trusted");
    assert!(!is_healthy(&client, &url.replace("https", "http")).await, "plain HTTP is answered");
    python::run(SECURE, [lake.flight(), cert.to_str().unwrap(), ADMIN_KEY].map(str::to_owned).to_vec()).await;

    // A handshake that never ends is given up; others are served meanwhile.
    let mut silent = TcpStream::connect(url.strip_prefix("https://").unwrap()).await.expect("a connection");
    silent.write_all(b"\x16\x03\x01").await.unwrap();
    assert!(is_healthy(&client, &url).await);

    fs::write(&key, "no key").unwrap();
    sleep(Duration::from_secs(7)).await;
    assert!(is_healthy(&trusting(&first), &url).await, "half a pair leaves the old one in force");
    let second = renew(folder.path());
    let until = Instant::now() + RENEWED_WITHIN;
    // A new connection each time: an open one keeps its certificate.
    while !is_healthy(&trusting(&second), &url).await {
        assert!(Instant::now() < until, "the new certificate is not in force");
        sleep(Duration::from_millis(200)).await;
    }
    assert!(!is_healthy(&trusting(&first), &url).await);
    let mut rest = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), silent.read_to_end(&mut rest)).await;
    assert!(ended.is_ok(), "the handshake that never ended still waits");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_used_keeps_the_server_from_starting_and_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    renew(folder.path());
    let cert = folder.path().join("cert.pem");
    let config = format!("[tls]\ncert_file = \"{0}\"\nkey_file = \"{0}\"\n", cert.display());
    let told = Lake::refuses_to_start(Options { config: Some(config), ..Options::default() }).await;
    assert!(told.contains("cert.pem") && told.contains("private key"), "{told}");
}
