//! A certificate authority made for one test, with the openssl program: what
//! upstreams present is made by other code than what verifies it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::wait::pause;

pub struct Authority {
    directory: TempDir,
}

impl Authority {
    pub fn new() -> Self {
        let authority = Self {
            directory: TempDir::new().unwrap(),
        };
        authority.openssl(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            "/CN=test authority",
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ]);
        authority
    }

    /// What a gateway is told to trust.
    pub fn certificate(&self) -> PathBuf {
        self.directory.path().join("ca.pem")
    }

    /// Of its own certificate.
    pub fn key(&self) -> PathBuf {
        self.path("ca.key")
    }

    /// A certificate for names in OpenSSL's form (`DNS:a.test`, `IP:127.0.0.1`)
    /// and its key.
    pub fn issue(&self, names: &str) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n");
        self.sign("leaf", &extensions, &["-CAcreateserial", "-days", "2"])
    }

    /// As `issue`, and over within the second.
    pub fn issue_expired(&self, names: &str) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n");
        let issued = self.sign("expired", &extensions, &["-CAcreateserial", "-days", "0"]);
        pause(Duration::from_millis(1_100));
        issued
    }

    /// A client's certificate of this serial number, and its key, as PEM.
    pub fn issue_client(&self, name: &str, serial: u32) -> (String, String) {
        let serial = serial.to_string();
        let how = ["-set_serial", &serial, "-days", "2"];
        let (certificate, key) = self.sign(name, "extendedKeyUsage=clientAuth\n", &how);
        let read = |path| std::fs::read_to_string(path).unwrap();
        (read(certificate), read(key))
    }

    /// As `issue`, in files of its own: `{name}.pem` and `{name}.key`.
    pub fn issue_as(&self, name: &str, names: &str) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n");
        self.sign(name, &extensions, &["-CAcreateserial", "-days", "2"])
    }

    /// As `issue_as`, with a key of another kind.
    pub fn issue_rsa(&self, name: &str, names: &str) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=serverAuth\n");
        let how = ["-CAcreateserial", "-days", "2"];
        self.sign_key(&["rsa:2048"], name, &extensions, &how)
    }

    /// A client's certificate, `{name}.pem`, with a subject of that name and
    /// these extensions, for so many days; and its key.
    pub fn issue_caller(&self, name: &str, names: &str, days: u32) -> (PathBuf, PathBuf) {
        let extensions = format!("subjectAltName={names}\nextendedKeyUsage=clientAuth\n");
        let days = days.to_string();
        self.sign(name, &extensions, &["-CAcreateserial", "-days", &days])
    }

    fn sign(&self, name: &str, extensions: &str, how: &[&str]) -> (PathBuf, PathBuf) {
        let ecdsa = ["ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
        self.sign_key(&ecdsa, name, extensions, how)
    }

    fn sign_key(
        &self,
        kind: &[&str],
        name: &str,
        extensions: &str,
        how: &[&str],
    ) -> (PathBuf, PathBuf) {
        let file = |extension: &str| format!("{name}.{extension}");
        let (key, request, certificate) = (file("key"), file("csr"), file("pem"));
        std::fs::write(self.path(&file("ext")), extensions).unwrap();
        let subject = format!("/CN={name}");
        let mut asked = vec!["req", "-new", "-newkey"];
        asked.extend(kind);
        asked.extend([
            "-nodes", "-keyout", &key, "-out", &request, "-subj", &subject,
        ]);
        self.openssl(&asked);
        let extensions = file("ext");
        let mut arguments = vec!["x509", "-req", "-in", &request, "-CA", "ca.pem"];
        arguments.extend(["-CAkey", "ca.key", "-extfile", &extensions]);
        arguments.extend(how);
        arguments.extend(["-out", &certificate]);
        self.openssl(&arguments);
        (self.path(&certificate), self.path(&key))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(Path::new(self.directory.path()))
            .output()
            .expect("openssl is installed");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}
