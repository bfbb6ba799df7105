//! A real DNS server whose names lead elsewhere each time they are asked for, and a network of one's own for it: resolvers ask at port 53, and
//! where a name leads has to be reached, be it a public address or the one from which a cloud hands out credentials.

use std::path::Path;
use std::process::Command;

use crate::process::Process;
use crate::{tools, wait};

/// Makes a network of its own with these addresses on it, in which `/etc/resolv.conf` says what the first argument's file does.
const NETWORK: &str = "set -eu
ip link set lo up
for address in $2; do ip address add \"$address/32\" dev lo; done
mount --bind \"$1\" /etc/resolv.conf
shift 2
exec \"$@\"";

/// A running server.
pub struct Server {
    process: Process,
}

impl Server {
    /// A server at this address that knows these names, each with the answers that it gives one after the other; the last stays. An
    /// answer is a list of addresses with commas.
    ///
    /// # Panics
    /// When none is installed; see [`isolated`].
    pub fn start(address: &str, names: &[(&str, &[&str])], log: &Path) -> Server {
        let mut command = Command::new(tools::find("dns-server", "-help").expect("it is installed"));
        command.args(["-listen", address]);
        for (name, answers) in names {
            command.arg("-name").arg(format!("{name}={}", answers.join(";")));
        }
        let mut process = Process::start("dns", &mut command, log);
        wait::until("the DNS server", || {
            assert!(!process.has_ended(), "the DNS server has ended: {}", process.log());
            process.log().lines().next().map(drop)
        });
        Server { process }
    }

    /// How often a name was asked for its IPv4 addresses.
    pub fn asked(&self, name: &str) -> usize {
        let asked = format!("asked {name} A");
        self.process.log().lines().filter(|line| *line == asked).count()
    }
}

/// A command that runs this program in a network of its own that has these addresses and no way out, and asks a DNS server at
/// 127.0.0.1. Nothing, said loudly, where that cannot be had. `resolver` is a file that is written for it.
///
/// # Panics
/// When the file cannot be written.
pub fn isolated(program: &Path, addresses: &[&str], resolver: &Path) -> Option<Command> {
    if tools::find("dns-server", "-help").is_none() {
        tools::skip("no DNS server is installed: run `tools/install.sh dns`");
        return None;
    }
    // A question that is asked again because an answer was slow would have another one.
    let asks = "nameserver 127.0.0.1\noptions timeout:30 attempts:1\n";
    std::fs::write(resolver, asks).expect("a file can be written");
    let within = |addresses: &[&str], program: &Path| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "--net", "--", "sh", "-c", NETWORK, "sh"]);
        command.arg(resolver).arg(addresses.join(" ")).arg(program);
        command
    };
    let possible = within(addresses, Path::new("true")).output();
    if !possible.as_ref().is_ok_and(|output| output.status.success()) {
        tools::skip(&format!("this machine gives no network of its own (`unshare`, `ip`): {possible:?}"));
        return None;
    }
    Some(within(addresses, program))
}
