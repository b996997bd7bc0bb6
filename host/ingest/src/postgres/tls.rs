//! TLS to the database, by the library that the rest of this program uses.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use tokio_postgres::tls::{ChannelBinding, TlsConnect, TlsStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as Encrypted;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::Tls;
use super::socket::{Bounded, Socket};

/// Makes encrypted streams for one host; makes none for a source without TLS, of which it is never asked.
#[derive(Clone)]
pub(super) struct Connector(Option<(TlsConnector, ServerName<'static>)>);

impl Connector {
    /// # Errors
    /// When certificates cannot be read, or the host has no name that one could be for.
    pub(super) async fn new(tls: &Tls, host: &str) -> io::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = versions.with_safe_default_protocol_versions().map_err(io::Error::other)?;
        let config = match tls {
            Tls::Disable => return Ok(Self(None)),
            Tls::Require => {
                builder.dangerous().with_custom_certificate_verifier(Arc::new(Believing(provider))).with_no_client_auth()
            }
            Tls::VerifyFull { ca_file } => builder.with_root_certificates(roots(ca_file.as_deref()).await?).with_no_client_auth(),
        };
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        Ok(Self(Some((TlsConnector::from(Arc::new(config)), name))))
    }

    pub(super) fn is_used(&self) -> bool {
        self.0.is_some()
    }
}

/// The authorities of the file, else of the machine.
async fn roots(file: Option<&Path>) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    match file {
        Some(file) => {
            let pem = tokio::fs::read(file).await?;
            for certificate in CertificateDer::pem_slice_iter(&pem) {
                roots.add(certificate.map_err(io::Error::other)?).map_err(io::Error::other)?;
            }
        }
        None => {
            let native = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await.map_err(io::Error::other)?;
            // What a machine trusts and this library cannot read is not trusted.
            roots.add_parsable_certificates(native.certs);
        }
    }
    if roots.is_empty() { Err(io::Error::other("no authority to trust was found")) } else { Ok(roots) }
}

impl TlsConnect<Bounded<Socket>> for Connector {
    type Stream = Bounded<Encrypted<Bounded<Socket>>>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Stream>> + Send>>;

    fn connect(self, stream: Bounded<Socket>) -> Self::Future {
        Box::pin(async move {
            let (connector, name) = self.0.ok_or_else(|| io::Error::other("the source has no TLS"))?;
            Ok(Bounded::new(connector.connect(name, stream).await?))
        })
    }
}

impl TlsStream for Bounded<Encrypted<Bounded<Socket>>> {
    fn channel_binding(&self) -> ChannelBinding {
        ChannelBinding::none()
    }
}

/// Believes every certificate whose holder signs: for `tls = "require"`.
#[derive(Debug)]
struct Believing(Arc<CryptoProvider>);

impl ServerCertVerifier for Believing {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
