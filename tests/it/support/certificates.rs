//! Certificates of authorities that exist for one test, in files that go with it.

use std::fs;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

use super::scratch::scratch;

/// A directory with certificates and keys, removed with it.
#[derive(Debug)]
pub(crate) struct Certificates {
    directory: PathBuf,
}

/// Who signs certificates, and the name of its own file.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) file: PathBuf,
}

impl Certificates {
    pub(crate) fn new() -> Certificates {
        let directory = scratch("certificates");
        fs::create_dir(&directory).expect("a directory for certificates can be made");
        Certificates { directory }
    }

    /// The file of this name, which need not exist.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Writes a file.
    pub(crate) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let file = self.file(name);
        fs::write(&file, text).expect("the directory of the test can be written to");
        file
    }

    /// A new authority; its own certificate is in `name.pem`.
    pub(crate) fn authority(&self, name: &str) -> Authority {
        let mut params = params(&[], name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a key can sign itself");
        Authority {
            file: self.write(&format!("{name}.pem"), certificate.pem()),
            issuer: Issuer::new(params, key),
        }
    }

    #[cfg(feature = "tls")]
    /// A certificate of an authority that is for these hosts itself, valid until the end of a year.
    pub(crate) fn self_signed(&self, name: &str, hosts: &[&str], year: i32) -> PathBuf {
        let mut params = params(hosts, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("a key can sign itself");
        self.write(&format!("{name}.key"), key.serialize_pem());
        self.write(&format!("{name}.pem"), certificate.pem())
    }

    /// A certificate for these hosts in `name.pem`, its key in `name.key`.
    pub(crate) fn issue(&self, by: &Authority, name: &str, hosts: &[&str]) {
        self.issue_until(by, name, hosts, 2090);
    }

    /// The same, valid until the end of a year.
    pub(crate) fn issue_until(&self, by: &Authority, name: &str, hosts: &[&str], year: i32) {
        let mut params = params(hosts, name);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, 12, 31);
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.signed_by(&key, &by.issuer);
        let certificate = certificate.expect("an authority can sign");
        self.write(&format!("{name}.pem"), certificate.pem());
        self.write(&format!("{name}.key"), key.serialize_pem());
    }

    /// Lines of mosquitto.conf for a listener that shows the certificate of this name.
    pub(crate) fn shown(&self, name: &str) -> String {
        format!(
            "certfile {}\nkeyfile {}",
            self.file(&format!("{name}.pem")).display(),
            self.file(&format!("{name}.key")).display()
        )
    }

    /// The same for one that asks for a certificate of this authority.
    pub(crate) fn mutual(&self, name: &str, by: &Authority) -> String {
        let cafile = by.file.display();
        format!(
            "{}\ncafile {cafile}\nrequire_certificate true",
            self.shown(name)
        )
    }
}

impl Drop for Certificates {
    fn drop(&mut self) {
        // A directory that stays behind is no reason to fail a test that may be panicking already.
        let _ = fs::remove_dir_all(Path::new(&self.directory));
    }
}

fn params(hosts: &[&str], name: &str) -> CertificateParams {
    let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
    let mut params = CertificateParams::new(hosts).expect("these are host names");
    params.distinguished_name.push(DnType::CommonName, name);
    params
}
