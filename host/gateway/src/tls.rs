//! TLS by config: one certificate for HTTP and Flight SQL, read again when its files change.
//!
//! **Invariant**: a certificate in force fits its key; files that cannot be read, or do not fit each other, leave the one before in force and
//! are told of in the log, once for each change.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use lakehouse_settings::TlsSettings;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::{CryptoProvider, aws_lc_rs},
        pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Why a certificate is not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("cannot read {}", file.display())]
    Read {
        file: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("{} holds no {what} in PEM", file.display())]
    Pem {
        file: PathBuf,
        what: &'static str,
        #[source]
        source: pem::Error,
    },
    #[error("the certificate of {} cannot be used with the key of {}", cert.display(), key.display())]
    Pair {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}

/// The server's certificate, as connections ask for it.
#[derive(Clone)]
pub struct Tls {
    settings: TlsSettings,
    provider: Arc<CryptoProvider>,
    present: Arc<Present>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("cert_file", &self.settings.cert_file).finish_non_exhaustive()
    }
}

struct Present(ArcSwap<CertifiedKey>);

impl fmt::Debug for Present {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Present")
    }
}

impl ResolvesServerCert for Present {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.load_full())
    }
}

/// What is spoken over a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

impl Tls {
    /// Reads the certificate and its key.
    ///
    /// # Errors
    /// When they cannot be read or do not fit each other.
    pub fn load(settings: &TlsSettings) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let present = Arc::new(Present(ArcSwap::from_pointee(certificate(settings, &provider)?)));
        Ok(Self { settings: settings.clone(), provider, present })
    }

    /// Follows the files for ever.
    pub async fn watch(self) {
        let mut known = stamps(&self.settings);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = stamps(&self.settings);
            // A pair that is being replaced is read once both files are still.
            if now != known && now.iter().all(|stamp| stamp.is_none_or(is_still)) {
                known = now;
                self.reload();
            }
        }
    }

    fn reload(&self) {
        match certificate(&self.settings, &self.provider) {
            Ok(certificate) => {
                self.present.0.store(Arc::new(certificate));
                tracing::info!("a new certificate is in force");
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "the certificate's files have changed and cannot be used; the old one stays in force");
            }
        }
    }

    /// What makes TLS of connections.
    pub(crate) fn acceptor(&self, protocol: Protocol) -> Result<TlsAcceptor, TlsError> {
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Setup)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(&self.present) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![match protocol {
            Protocol::Http1 => b"http/1.1".to_vec(),
            Protocol::Http2 => b"h2".to_vec(),
        }];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn certificate(settings: &TlsSettings, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let TlsSettings { cert_file, key_file } = settings;
    let chain = CertificateDer::pem_slice_iter(&read(cert_file)?)
        .collect::<Result<Vec<_>, _>>()
        .and_then(|chain| if chain.is_empty() { Err(pem::Error::NoItemsFound) } else { Ok(chain) })
        .map_err(|source| TlsError::Pem { file: cert_file.clone(), what: "certificate", source })?;
    let key = PrivateKeyDer::from_pem_slice(&read(key_file)?).map_err(|source| TlsError::Pem {
        file: key_file.clone(),
        what: "private key",
        source,
    })?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| TlsError::Pair {
        cert: cert_file.clone(),
        key: key_file.clone(),
        source,
    })
}

fn read(file: &Path) -> Result<Vec<u8>, TlsError> {
    fs::read(file).map_err(|source| TlsError::Read { file: file.to_owned(), source })
}

fn stamps(settings: &TlsSettings) -> [Option<SystemTime>; 2] {
    [&settings.cert_file, &settings.key_file].map(|file| fs::metadata(file).and_then(|found| found.modified()).ok())
}

fn is_still(modified: SystemTime) -> bool {
    modified.elapsed().map_or(true, |age| age >= Duration::from_secs(1))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use lakehouse_settings::TlsSettings;

    use super::{Protocol, Tls, TlsError};

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    #[test]
    fn a_pair_that_fits_is_taken_and_one_that_does_not_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let settings = TlsSettings { cert_file: folder.path().join("cert.pem"), key_file: folder.path().join("key.pem") };
        assert!(matches!(Tls::load(&settings), Err(TlsError::Read { .. })));
        let ((cert, key), (other_cert, other_key)) = (pair(), pair());
        fs::write(&settings.cert_file, &cert).unwrap();
        fs::write(&settings.key_file, "no key").unwrap();
        assert!(matches!(Tls::load(&settings), Err(TlsError::Pem { .. })));
        fs::write(&settings.key_file, &other_key).unwrap();
        assert!(matches!(Tls::load(&settings), Err(TlsError::Pair { .. })));
        fs::write(&settings.key_file, &key).unwrap();
        let tls = Tls::load(&settings).unwrap();
        assert!(tls.acceptor(Protocol::Http1).is_ok());

        let in_force = || tls.present.0.load().cert[0].to_vec();
        let first = in_force();
        fs::write(&settings.cert_file, &other_cert).unwrap();
        tls.reload();
        assert_eq!(in_force(), first, "it does not fit the key");
        fs::write(&settings.key_file, &other_key).unwrap();
        tls.reload();
        assert_ne!(in_force(), first);
        fs::remove_file(&settings.cert_file).unwrap();
        tls.reload();
        assert_ne!(in_force(), first);
    }
}
