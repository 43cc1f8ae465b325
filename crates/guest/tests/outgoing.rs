//! HTTPS requests of guests, to a server with a certificate of its own CA.

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Empty};
use isomer_guest::{HttpRule, Outgoing, OutgoingLimits, Roots};
use isomer_testing::registry::make_certificates;
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use wasmtime_wasi_http::{Error, WasiHttpHooks};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello\n";

/// Answers every connection once, with the certificate `server` in `directory`, which is for 127.0.0.1.
async fn serve(directory: &Path) -> SocketAddr {
    let certificates = CertificateDer::pem_file_iter(directory.join("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(directory.join("server.key")).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config =
        config.with_no_client_auth().with_single_cert(certificates.map(Result::unwrap).collect(), key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut head = [0; 1024];
                if stream.read(&mut head).await.is_ok_and(|size| size > 0) {
                    let _ = stream.write_all(ANSWER).await;
                    let _ = stream.shutdown().await;
                }
            });
        }
    });
    address
}

/// The body that a guest gets, or its error.
async fn fetch(url: &str, rules: &[&str], roots: &Roots) -> Result<Bytes, Error> {
    let rules: Vec<HttpRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
    let mut outgoing = Outgoing::new(&rules, roots, OutgoingLimits::default());
    let body = Empty::new().map_err(|never| match never {}).boxed_unsync();
    let request = Request::get(url).body(body).unwrap();
    let sent = outgoing.send_request(request, None, Box::new(std::future::ready(Ok(()))));
    let (response, _) = Box::into_pin(sent).await?;
    assert_eq!(response.status(), 200);
    Ok(response.into_body().collect().await?.to_bytes())
}

#[tokio::test]
async fn a_server_is_trusted_by_the_ca_that_its_certificate_is_from() {
    let directory = std::env::temp_dir().join(format!("isomer-outgoing-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    make_certificates(&directory);
    let port = serve(&directory).await.port();
    let rules = [&*format!("https://127.0.0.1:{port}"), &*format!("https://localhost:{port}")];
    let url = format!("https://127.0.0.1:{port}/hello");

    let system = Roots::load(&[]).unwrap();
    let refused = fetch(&url, &rules, &system).await;
    assert!(matches!(refused, Err(Error::TlsCertificateError)), "{refused:?}");

    let roots = Roots::load(&[directory.join("ca.pem")]).unwrap();
    assert_eq!(fetch(&url, &rules, &roots).await.unwrap(), "hello\n");
    // The certificate is not for that name.
    let refused = fetch(&format!("https://localhost:{port}/hello"), &rules, &roots).await;
    assert!(matches!(refused, Err(Error::TlsCertificateError)), "{refused:?}");
    // A rule for a name alone does not reach an address that is not public.
    let refused = fetch(&format!("https://localhost:{port}/hello"), &rules[1..], &roots).await;
    assert!(matches!(refused, Err(Error::DestinationIpProhibited)), "{refused:?}");

    let error = Roots::load(&[directory.join("server.key")]).unwrap_err();
    assert!(error.to_string().contains("holds no CA certificate"), "{error}");
    std::fs::remove_dir_all(&directory).unwrap();
}
