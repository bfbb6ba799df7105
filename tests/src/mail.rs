//! A real SMTP server on loopback, aiosmtpd, whose messages a test can read.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::{Authority, Validity};
use crate::cluster::temporary_directory;
use crate::process::Process;
use crate::{tools, wait};

/// How the server speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speaks {
    /// Without TLS.
    Plain,
    /// TLS after STARTTLS, and nothing before.
    StartTls,
    /// TLS from the first byte.
    Implicit,
}

/// A running server. It knows one login.
pub struct MailServer {
    _process: Process,
    directory: TempDir,
    port: u16,
    authority: Authority,
}

/// A message that arrived.
#[derive(Debug)]
pub struct Mail {
    /// `from`, `to`, `tls` and `login`, as the server saw them.
    pub envelope: Value,
    /// The message as it came.
    pub text: String,
}

impl MailServer {
    /// Who may log in.
    pub const USERNAME: &str = "holdfast";
    /// With this.
    pub const PASSWORD: &str = "password-of-the-mail-tests";

    /// Starts one that asks for a login, or nothing, said loudly, where aiosmtpd is not installed.
    pub fn start(speaks: Speaks) -> Option<MailServer> {
        let modules = tools::directory().join("smtp");
        let probe =
            Command::new("python3").args(["-c", "import aiosmtpd.smtp"]).env("PYTHONPATH", &modules).output();
        if !probe.is_ok_and(|probe| probe.status.success()) {
            tools::skip("no SMTP server is installed: run `tools/install.sh smtp`");
            return None;
        }
        let directory = temporary_directory();
        let authority = Authority::new(&directory.path().join("authority"));
        let identity = authority.issue("mail", Validity::Valid);
        let folder = directory.path().join("mail");
        fs::create_dir(&folder).expect("a folder can be made");
        let mode = match speaks {
            Speaks::Plain => "plain",
            Speaks::StartTls => "starttls",
            Speaks::Implicit => "implicit",
        };
        let mut command = Command::new("python3");
        command.env("PYTHONPATH", &modules).arg(tools::root().join("tools/smtp/server.py"));
        command.args(["--mode", mode]).arg("--folder").arg(&folder);
        command.arg("--certificate").arg(identity.certificate).arg("--key").arg(identity.key);
        if speaks != Speaks::Plain {
            command.args(["--login", &format!("{}:{}", Self::USERNAME, Self::PASSWORD)]);
        }
        let mut process = Process::start("aiosmtpd", &mut command, &directory.path().join("smtp.log"));
        let line = process.wait_for_line("listening ");
        let port = line.rsplit(' ').next().and_then(|port| port.parse().ok()).expect("it says its port");
        Some(MailServer { _process: process, directory, port, authority })
    }

    /// The port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The certificate of its authority.
    pub fn ca(&self) -> PathBuf {
        self.authority.certificate()
    }

    /// The messages so far, in the order in which they came.
    pub fn mails(&self) -> Vec<Mail> {
        let folder = self.directory.path().join("mail");
        (1..).map_while(|number: u32| read(&folder, number)).collect()
    }

    /// Waits until so many have come.
    pub fn wait_for(&self, count: usize) -> Vec<Mail> {
        wait::until("mail", || Some(self.mails()).filter(|mails| mails.len() >= count))
    }
}

fn read(folder: &Path, number: u32) -> Option<Mail> {
    let envelope = fs::read(folder.join(format!("{number}.json"))).ok()?;
    Some(Mail {
        envelope: serde_json::from_slice(&envelope).expect("an envelope is JSON"),
        text: fs::read_to_string(folder.join(format!("{number}.eml"))).expect("a message is text"),
    })
}
