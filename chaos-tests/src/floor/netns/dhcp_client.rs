//! Real DHCP clients on the rack LAN: dhclient, udhcpc, dhcpcd.
//!
//! Each has its own namespace, files and hook script, so that nothing of the machine's own network or of its lease files is touched. The
//! script writes one line per event; what went over the wire is the [`Tap`]'s to tell, in the same words for all three.

use std::net::Ipv4Addr;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use super::cleanup;
use super::cluster::Cluster;
use super::process::Process;
use super::sys::Signal;
use super::tap::{Seen, Tap};
use super::topology::Namespace;
use crate::{clock, shell};

/// Which program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Dhclient,
    Udhcpc,
    Dhcpcd,
}

impl Kind {
    /// All three.
    pub const ALL: [Kind; 3] = [Kind::Dhclient, Kind::Udhcpc, Kind::Dhcpcd];

    /// Name of the program.
    pub fn program(self) -> &'static str {
        match self {
            Kind::Dhclient => "dhclient",
            Kind::Udhcpc => "udhcpc",
            Kind::Dhcpcd => "dhcpcd",
        }
    }

    /// Where option 53 begins in its REQUEST after an OFFER, in bytes after the cookie: dhcpcd writes option 50 first (seen).
    pub fn request_offset(self) -> u16 {
        match self {
            Kind::Dhclient | Kind::Udhcpc => 0,
            Kind::Dhcpcd => 6,
        }
    }

    /// Whether a restarted one asks for its old address by INIT-REBOOT. udhcpc keeps no lease file.
    pub fn remembers(self) -> bool {
        self != Kind::Udhcpc
    }
}

/// What the hook script of a client said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The client's own word, upper case: BOUND, RENEW, REBIND, REBOOT, NAK, EXPIRE …
    pub reason: String,
    pub address: Option<Ipv4Addr>,
    pub lifetime_secs: Option<u32>,
    /// Option 54 of the ACK.
    pub server: Option<Ipv4Addr>,
}

impl Hook {
    fn parse(line: &str) -> Option<Hook> {
        let mut words = line.split(' ');
        let reason = words.next()?.to_uppercase();
        let mut word = || words.next().unwrap_or_default();
        Some(Hook {
            reason,
            address: word().parse().ok(),
            lifetime_secs: word().parse().ok(),
            server: word().parse().ok(),
        })
    }

    /// Whether the client got or kept an address by it.
    pub fn is_bound(&self) -> bool {
        self.address.is_some()
            && ["BOUND", "RENEW", "REBIND", "REBOOT"].contains(&self.reason.as_str())
    }
}

/// One client.
#[derive(Debug)]
pub struct RealClient {
    pub kind: Kind,
    /// Its port on the rack LAN.
    pub port: String,
    pub mac: [u8; 6],
    process: Option<Process>,
    namespace: Namespace,
    dir: PathBuf,
}

impl RealClient {
    /// A client that does not run yet.
    ///
    /// # Errors
    /// When its namespace or files cannot be made.
    pub fn prepare(cluster: &Cluster, kind: Kind) -> Result<RealClient> {
        let (namespace, port, mac) = cluster.client()?;
        let dir = cluster.dir().join(format!("{}-{port}", kind.program()));
        std::fs::create_dir_all(dir.join("state"))?;
        let client = RealClient { kind, port, mac, process: None, namespace, dir };
        client.write_script()?;
        Ok(client)
    }

    /// Starts it, with what it remembers from before.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn start(&mut self) -> Result<()> {
        // A rebooted machine has no address on its interface.
        self.namespace.ip(&["addr", "flush", "dev", "eth0"])?;
        let dir = self.dir.display().to_string();
        let mut command = match self.kind {
            Kind::Dhclient => {
                let mut command = self.namespace.command("dhclient");
                command.args(["-4", "-d", "-v"]).args(self.dhclient_files());
                command
            }
            Kind::Udhcpc => {
                let mut command = self.namespace.command("udhcpc");
                command.args(["-f", "-i", "eth0", "-A", "3", "-s", &format!("{dir}/hook")]);
                command
            }
            Kind::Dhcpcd => {
                // `ip netns exec` gives each command its own mounts, so these are nobody else's.
                let script = format!(
                    "mount -t tmpfs tmpfs /run && mkdir /run/dhcpcd && mount --bind {dir}/state /var/lib/dhcpcd && \
                     exec dhcpcd -4 -B -d -f {dir}/dhcpcd.conf -c {dir}/hook eth0"
                );
                let mut command = self.namespace.command("sh");
                command.args(["-c", &script]);
                command
            }
        };
        self.process = Some(Process::start(&mut command, &self.dir.join("log"))?);
        Ok(())
    }

    /// Ends it without a word to the server, as pulling the plug does.
    ///
    /// # Errors
    /// When it does not go.
    pub fn kill(&mut self) -> Result<()> {
        if let Some(process) = &mut self.process {
            process.kill()?;
        }
        // dhcpcd has helpers, which would outlive it.
        cleanup::end_processes(self.namespace.name());
        Ok(())
    }

    /// Lets it give its address back and end.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn release(&mut self) -> Result<()> {
        match self.kind {
            Kind::Dhclient => {
                let mut command = self.namespace.command("dhclient");
                command.args(["-4", "-r", "-v"]).args(self.dhclient_files());
                shell::run(&mut command)?;
            }
            Kind::Udhcpc => self.signal(Signal::User2)?,
            Kind::Dhcpcd => self.signal(Signal::Alarm)?,
        }
        Ok(())
    }

    /// Asks for more time now, where the program can be asked: udhcpc ignores T1 and would wait for half of the lease.
    ///
    /// # Errors
    /// When it cannot be told.
    pub fn hurry(&mut self) -> Result<()> {
        if self.kind == Kind::Udhcpc {
            self.signal(Signal::User1)?;
        }
        Ok(())
    }

    /// What its hook script said so far.
    pub fn hooks(&self) -> Vec<Hook> {
        let text = std::fs::read_to_string(self.dir.join("events")).unwrap_or_default();
        text.lines().filter_map(Hook::parse).collect()
    }

    /// Waits for the first event after the first `skip` that gave it an address.
    ///
    /// # Errors
    /// When there is none in time; the message has the end of its log.
    pub fn wait_bound(&self, skip: usize, limit_ms: u64) -> Result<Hook> {
        let what = format!("{} to get an address", self.kind.program());
        clock::wait_for(&what, limit_ms, || {
            self.hooks().into_iter().skip(skip).find(Hook::is_bound)
        })
        .with_context(|| self.said())
    }

    /// Waits until the wire has carried an exchange that `what` names: a REQUEST that `matches`, and the ACK to it after that.
    ///
    /// # Errors
    /// When there is none in time.
    pub fn wait_exchange(
        &self,
        tap: &Tap,
        what: &str,
        from: u64,
        limit_ms: u64,
        matches: impl Fn(&Seen) -> bool,
    ) -> Result<Seen> {
        let what = format!("{}: {what}", self.kind.program());
        clock::wait_for(&what, limit_ms, || {
            let seen = tap.of_client(self.mac, from);
            let asked = seen.iter().position(|message| message.kind == 3 && matches(message))?;
            let xid = seen[asked].xid;
            seen[asked..].iter().find(|message| message.kind == 5 && message.xid == xid).cloned()
        })
        .with_context(|| self.said())
    }

    /// The IPv4 addresses on its interface.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn addresses(&self) -> Result<Vec<Ipv4Addr>> {
        let text = self.namespace.ip(&["-4", "-o", "addr", "show", "dev", "eth0"])?;
        let address = |line: &str| line.split_once("inet ")?.1.split('/').next()?.parse().ok();
        Ok(text.lines().filter_map(address).collect())
    }

    /// What it logged last, for the message of a failure.
    pub fn said(&self) -> String {
        let tail = self.process.as_ref().map(Process::tail).unwrap_or_default();
        format!("{} said last:\n{tail}\nits hooks: {:?}", self.kind.program(), self.hooks())
    }

    fn signal(&mut self, signal: Signal) -> Result<()> {
        match &mut self.process {
            Some(process) => process.signal(signal),
            None => bail!("{} does not run", self.kind.program()),
        }
    }

    fn dhclient_files(&self) -> Vec<String> {
        let dir = self.dir.display();
        let file = |flag: &str, name: &str| [flag.to_owned(), format!("{dir}/{name}")];
        let mut args = Vec::new();
        args.extend(file("-lf", "state/dhclient.leases"));
        args.extend(file("-pf", "state/dhclient.pid"));
        args.extend(file("-cf", "dhclient.conf"));
        args.extend(file("-sf", "hook"));
        args.push("eth0".to_owned());
        args
    }

    fn write_script(&self) -> Result<()> {
        let events = self.dir.join("events").display().to_string();
        // dhcpcd configures the interface itself; the other two leave it to the script.
        let text = match self.kind {
            Kind::Dhclient => format!(
                "#!/bin/sh\n\
                 case \"$reason\" in\n\
                 PREINIT) ip link set \"$interface\" up ;;\n\
                 BOUND|RENEW|REBIND|REBOOT) ip addr replace \"$new_ip_address/16\" dev \"$interface\" ;;\n\
                 EXPIRE|FAIL|RELEASE|STOP) ip addr flush dev \"$interface\" ;;\n\
                 esac\n\
                 echo \"$reason $new_ip_address $new_dhcp_lease_time $new_dhcp_server_identifier\" >> {events}\n"
            ),
            Kind::Udhcpc => format!(
                "#!/bin/sh\n\
                 case \"$1\" in\n\
                 deconfig) ip link set \"$interface\" up; ip addr flush dev \"$interface\"; ip= lease= serverid= ;;\n\
                 bound|renew) ip addr replace \"$ip/16\" dev \"$interface\" ;;\n\
                 esac\n\
                 echo \"$1 $ip $lease $serverid\" >> {events}\n"
            ),
            Kind::Dhcpcd => format!(
                "#!/bin/sh\n\
                 echo \"$reason $new_ip_address $new_dhcp_lease_time $new_dhcp_server_identifier\" >> {events}\n"
            ),
        };
        let hook = self.dir.join("hook");
        std::fs::write(&hook, text)?;
        shell::run(std::process::Command::new("chmod").arg("755").arg(&hook))?;
        std::fs::write(self.dir.join("dhclient.conf"), "")?;
        std::fs::write(
            self.dir.join("dhcpcd.conf"),
            "noipv4ll\nnoipv6\nduid\noption domain_name_servers\n",
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Hook;

    #[test]
    fn a_hook_line_with_missing_values_is_read() {
        let hook = Hook::parse("PREINIT   ").expect("a hook");
        assert!(!hook.is_bound());
        let hook = Hook::parse("bound 10.77.16.0 40 10.77.0.1").expect("a hook");
        assert!(hook.is_bound());
        assert_eq!(hook.lifetime_secs, Some(40));
    }
}
