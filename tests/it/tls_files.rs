//! Files of certificates and keys as people have them: joined lines, DER, other tools' labels, certificates that
//! rustls itself would not read, and what is said of those that can't be used: never what is in them.
//!
//! The files in `tls_files/` were made once with openssl 3.0, valid for a hundred years; their keys protect
//! nothing:
//!
//! - `ca.pem`: `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj "/CN=test authority"`
//! - `v1.pem`: a request with `/CN=gateway`, signed by `x509 -req -CA ca.pem`, without `-extfile`: version 1
//! - `self.pem`: `req -x509 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1`
//! - `p521.pem`: the same with a key of `ecparam -name secp521r1 -genkey`
//! - `rsa.enc.key`, `rsa.enc8.key`: a key of RSA by `rsa -traditional -aes128` and by `pkcs8 -topk8`

use std::fs;
use std::path::{Path, PathBuf};

use mqtt_fleet::{Cause, ClientSpec, Fleet, Outcome, Problem, StartError, Tls, TlsError};

use crate::support::certificates::Certificates;
use crate::support::fleet::{PATIENCE, outcome_of, quick_retry, start};
use crate::support::leaks::assert_hidden;
use crate::support::mosquitto::Mosquitto;
use crate::support::silent::Silent;

const V1: &str = include_str!("tls_files/v1.pem");
const V1_KEY: &str = include_str!("tls_files/v1.key");
const SELF: &str = include_str!("tls_files/self.pem");
const SELF_KEY: &str = include_str!("tls_files/self.key");

fn spec(url: String, tls: Tls) -> ClientSpec {
    ClientSpec::new("plant", url).tls(tls).retry(quick_retry(2))
}

/// How a fleet with this TLS does not start.
fn refused(tls: Tls) -> TlsError {
    let spec = spec("mqtts://localhost".to_owned(), tls);
    let error = Fleet::builder().client(spec).start();
    match error.expect_err("the start must refuse this") {
        StartError::Client {
            problem: Problem::Tls(problem),
            ..
        } => problem,
        other => panic!("{other}"),
    }
}

/// Whether a fleet with this TLS starts; it has no broker to reach.
fn starts(tls: Tls) {
    start([spec("mqtts://127.0.0.1:1".to_owned(), tls)]);
}

fn connects(url: String, tls: Tls) {
    let fleet = start([spec(url, tls)]);
    fleet.wait_connected(PATIENCE).unwrap();
    assert_eq!(fleet.stop(PATIENCE).exit_code(), 0);
}

fn base64(pem: &str) -> String {
    let lines = pem.lines().skip_while(|line| !line.starts_with("-----"));
    lines.filter(|line| !line.contains("-----")).collect()
}

/// Decodes with a tool of its own: what rustls' own reader makes of a file.
fn der(pem: &str) -> Vec<u8> {
    use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
    match CertificateDer::from_pem_slice(pem.as_bytes()) {
        Ok(certificate) => certificate.to_vec(),
        Err(_) => PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .secret_der()
            .to_vec(),
    }
}

/// Fails when a client certificate of version 1 is refused here: mosquitto and its own client take it.
#[test]
fn a_client_certificate_of_version_1_is_the_brokers_affair() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    made.issue(&ca, "right", &["localhost"]);
    let clients = made.write("clients.pem", include_str!("tls_files/ca.pem"));
    let listener = format!(
        "{}\ncafile {}\nrequire_certificate true\nuse_identity_as_username true",
        made.shown("right"),
        clients.display()
    );
    let Some(broker) = Mosquitto::builder().listener(&listener).start() else {
        return;
    };
    let (certificate, key) = (made.write("v1.pem", V1), made.write("v1.key", V1_KEY));
    let tls = Tls::ca_file(&ca.file).client_certificate(&certificate, &key);
    connects(format!("mqtts://localhost:{}", broker.port_of(0)), tls);
    // That it is another one's key is seen in this version, too.
    let other = Tls::ca_file(&ca.file).client_certificate(&certificate, made.file("right.key"));
    assert!(matches!(refused(other), TlsError::Identity { .. }));
}

/// Fails when a self-signed certificate of an authority is not taken from the broker that the file names, or when
/// its names are not checked, or another certificate is taken for it.
#[test]
fn a_self_signed_certificate_is_its_own_authority() {
    let made = Certificates::new();
    let other = made.authority("other");
    let pem = made.write("self.pem", SELF);
    made.write("self.key", SELF_KEY);
    let Some(broker) = Mosquitto::builder().listener(&made.shown("self")).start() else {
        return;
    };
    let url = |host: &str| format!("mqtts://{host}:{}", broker.port_of(0));
    connects(url("localhost"), Tls::ca_file(&pem));
    connects(url("127.0.0.1"), Tls::ca_file(&pem));
    let both = made.write(
        "both.pem",
        format!("{}{SELF}", fs::read_to_string(&other.file).unwrap()),
    );
    connects(url("localhost"), Tls::ca_file(both));
    let message = |tls: Tls| match outcome_of(spec(url("localhost"), tls)) {
        Outcome::Certificate {
            last_error: Cause::Certificate { message, .. },
        } => message,
        outcome => panic!("{outcome}"),
    };
    let named = message(Tls::ca_file(&pem).server_name("broker.example"));
    assert!(
        named.contains("localhost") && named.contains("is not for broker.example"),
        "{named}"
    );
    let foreign = message(Tls::ca_file(&other.file));
    assert!(
        foreign.contains("self-signed") || foreign.contains("unknown issuer"),
        "{foreign}"
    );
    for text in [named, foreign] {
        assert!(
            !text.contains("Other") && !text.contains("DnsName"),
            "{text}"
        );
    }
}

/// Fails when an expired self-signed certificate is taken because the file names it.
#[test]
fn a_self_signed_certificate_expires() {
    let made = Certificates::new();
    let pem = made.self_signed("old", &["localhost"], 2021);
    let Some(broker) = Mosquitto::builder().listener(&made.shown("old")).start() else {
        return;
    };
    let url = format!("mqtts://localhost:{}", broker.port_of(0));
    let outcome = outcome_of(spec(url, Tls::ca_file(pem))).to_string();
    assert!(outcome.contains("has expired"), "{outcome}");
}

/// Fails when a key of a kind that can't sign here is refused without a word on which one can, or a broker's key
/// of that kind is a riddle.
#[test]
fn keys_that_are_not_supported_are_named() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    let pem = made.write("p521.pem", include_str!("tls_files/p521.pem"));
    let key = made.write("p521.key", include_str!("tls_files/p521.key"));
    let error = refused(Tls::ca_file(&ca.file).client_certificate(&pem, &key)).to_string();
    for word in ["P-521", "p521.key", "RSA", "P-256", "Ed25519"] {
        assert!(error.contains(word), "{error}");
    }
    let Some(broker) = Mosquitto::builder().listener(&made.shown("p521")).start() else {
        return;
    };
    let url = format!("mqtts://localhost:{}", broker.port_of(0));
    let outcome = outcome_of(spec(url, Tls::ca_file(pem))).to_string();
    assert!(outcome.contains("P-521"), "{outcome}");
}

/// Fails when a key or a certificate is not read because of what an editor, a shell or a secret store did to its
/// lines, or because it is DER.
#[test]
fn files_are_read_in_every_dress() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    let dress = |pem: &str| -> Vec<Vec<u8>> {
        let lines: Vec<&str> = pem.lines().collect();
        vec![
            lines.join("\r\n").into_bytes(),
            lines.join(" ").into_bytes(),
            lines.join("\\n").into_bytes(),
            format!("'{}\\n'\n", lines.join("\\n")).into_bytes(),
            format!("\u{feff}{}", lines.join("\n")).into_bytes(),
            format!("subject=CN = gateway\n\n  {}\n", lines.join("\n  ")).into_bytes(),
            der(pem),
        ]
    };
    let key: String = V1_KEY
        .lines()
        .skip(1)
        .map(|line| format!("{line}\n"))
        .collect();
    for (n, (certificate, key)) in dress(V1).into_iter().zip(dress(&key)).enumerate() {
        let certificate = made.write(&format!("{n}.pem"), certificate);
        let key = made.write(&format!("{n}.key"), key);
        starts(Tls::ca_file(&certificate).client_certificate(&certificate, key));
    }
    // Both in one file, in either order.
    let both = made.write("both.pem", format!("{V1_KEY}\n{V1}"));
    starts(Tls::ca_file(&ca.file).client_certificate(&both, &both));
    let both = made.write("both.pem", format!("{V1}\n{V1_KEY}"));
    starts(Tls::ca_file(&both).client_certificate(&both, &both));
}

/// Fails when an error shows a part of a key, in whatever way its file is broken, or does not name the file and
/// what to do.
#[test]
fn no_broken_file_shows_its_key() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    let certificate = made.write("v1.pem", V1);
    let secret = base64(V1_KEY);
    let key = &V1_KEY[V1_KEY.find("-----").unwrap()..];
    let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
    let broken: Vec<(String, &str)> = vec![
        (format!("{begin}{secret}"), "END line is missing"),
        (
            format!("{begin}\n{secret}\n-----END CERTIFICATE-----"),
            "END line",
        ),
        (format!("{begin} {secret} -----END"), "END line is missing"),
        (format!("-----BEGIN {secret}"), ""),
        (
            format!("-----BEGIN {secret}-----\n{secret}\n-----END {secret}-----"),
            "",
        ),
        (format!("{begin}\n{secret}!\n{end}"), "not base64"),
        (
            format!("{begin}\n{}\n{end}", &secret[..secret.len() / 2]),
            "",
        ),
        (format!("{begin}\n{secret}={secret}\n{end}"), "base64"),
        (format!("{begin}\n{end}\n{secret}"), "nothing between"),
        (secret.clone(), "no private key"),
        (format!("PRIVATE_KEY={secret}"), "no private key"),
        (key.replace("PRIVATE", "PUBLIC"), "public key only"),
        (key.replace("PRIVATE KEY", "CERTIFICATE"), "exchanged"),
        (
            key.replace("PRIVATE KEY", "OPENSSH PRIVATE KEY"),
            "ssh-keygen",
        ),
        (key.replace("BEGIN", "BEGIM"), "no private key"),
        (format!("LS0tLS1CRUdJTi{secret}"), "base64 once more"),
        (String::new(), "empty"),
        (
            include_str!("tls_files/rsa.enc.key").to_owned(),
            "openssl pkey",
        ),
        (
            include_str!("tls_files/rsa.enc8.key").to_owned(),
            "openssl pkey",
        ),
        (V1.to_owned(), "exchanged"),
    ];
    for (n, (text, said)) in broken.iter().enumerate() {
        // As it is, and in one line.
        for (m, text) in [text.clone(), text.replace('\n', " ")].iter().enumerate() {
            let file = made.write(&format!("broken-{n}-{m}"), text);
            let error = refused(Tls::ca_file(&ca.file).client_certificate(&certificate, &file));
            let told = error.to_string();
            assert!(told.contains(&*file.to_string_lossy()), "{told}");
            assert!(told.contains(said), "{said}: {told}");
            let shown = format!("{told} {error:?}").replace(&*file.to_string_lossy(), "");
            assert_hidden(&secret, &shown);
            let encrypted: String = text.lines().filter(|line| line.len() == 64).collect();
            assert_hidden(&encrypted, &shown);
            // A key where certificates should be is shown as little.
            for tls in [
                Tls::ca_file(&file),
                Tls::ca_file(&ca.file).client_certificate(&file, &file),
            ] {
                if text == V1 || *text == V1.replace('\n', " ") {
                    continue;
                }
                let error = refused(tls);
                let shown = format!("{error} {error:?}").replace(&*file.to_string_lossy(), "");
                assert_hidden(&secret, &shown);
            }
        }
    }
}

/// Fails when a path that is no file, or one without an end, is not told, or eats the memory.
#[test]
fn places_that_are_no_file_are_told() {
    let made = Certificates::new();
    let directory = made.file("");
    let endless = PathBuf::from("/dev/zero");
    for place in [directory.as_path(), endless.as_path(), Path::new("/none")] {
        let error = refused(Tls::ca_file(place));
        assert!(matches!(error, TlsError::Read { .. }), "{error}");
        let error = error.to_string();
        assert!(error.contains(&*place.to_string_lossy()), "{error}");
    }
    let large = refused(Tls::ca_file(&endless)).to_string();
    assert!(large.contains("larger than"), "{large}");
}

/// Fails when a broker that does not speak TLS, or only another version, is told in rustls' words.
#[test]
fn a_port_without_tls_is_told_in_words() {
    let made = Certificates::new();
    let ca = made.authority("ca");
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    Silent::serve(b"HTTP/1.0 400 Bad Request\r\n\r\n", |silent| {
        let answers = [(silent.addr().port(), "is not TLS"), (broker.port(), "")];
        for (port, said) in answers {
            let url = format!("mqtts://127.0.0.1:{port}");
            let outcome = outcome_of(spec(url, Tls::ca_file(&ca.file))).to_string();
            assert!(outcome.contains(said), "{outcome}");
            for riddle in ["Invalid", "Alert", "Other", "UnexpectedEof", "{", "Some("] {
                assert!(!outcome.contains(riddle), "{riddle}: {outcome}");
            }
        }
    });
}
