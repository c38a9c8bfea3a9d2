//! Network namespaces, and bridges that join them.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::{cleanup, sys};
use crate::{clock, shell};

/// A network namespace with a unique name. Dropping it ends what runs in it and deletes it.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes one; `role` is part of its name.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn create(role: &str) -> Result<Namespace> {
        let name = cleanup::unique_name(role);
        shell::run(Command::new("ip").args(["netns", "add", &name]))?;
        let namespace = Namespace { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        // Router solicitations and the like would only be noise on the wire.
        namespace.inside(|| {
            for scope in ["all", "default"] {
                let _ =
                    std::fs::write(format!("/proc/sys/net/ipv6/conf/{scope}/disable_ipv6"), "1");
            }
        })?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run in it. The process is the program itself: `ip netns exec` replaces itself.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Runs `ip -n NAME args`.
    ///
    /// # Errors
    /// When it fails.
    pub fn ip(&self, args: &[&str]) -> Result<String> {
        shell::run(Command::new("ip").args(["-n", &self.name]).args(args))
    }

    /// The way in, for a thread of the caller.
    ///
    /// # Errors
    /// When the namespace is gone.
    pub fn entrance(&self) -> Result<Entrance> {
        let path = PathBuf::from("/run/netns").join(&self.name);
        let file = File::open(&path).with_context(|| format!("opening {}", path.display()))?;
        Ok(Entrance { file })
    }

    /// Runs `work` on a thread inside the namespace. A socket opened there stays there.
    ///
    /// # Errors
    /// When the namespace cannot be entered.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let entrance = self.entrance()?;
        std::thread::scope(|scope| {
            scope
                .spawn(move || entrance.enter().map(|()| work()))
                .join()
                .map_err(|_| anyhow!("a thread in {} panicked", self.name))?
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        cleanup::delete_namespace(&self.name);
    }
}

/// An open namespace.
#[derive(Debug)]
pub struct Entrance {
    file: File,
}

impl Entrance {
    /// Moves the calling thread in, for good.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        sys::enter_network_namespace(&self.file).context("entering a network namespace")
    }
}

/// An Ethernet switch: a bridge in a namespace of its own.
#[derive(Debug)]
pub struct Switch {
    pub namespace: Namespace,
}

impl Switch {
    /// Makes a bridge that forwards at once and knows no multicast filter.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn create(role: &str) -> Result<Switch> {
        let namespace = Namespace::create(role)?;
        namespace.ip(&[
            "link",
            "add",
            "br0",
            "type",
            "bridge",
            "stp_state",
            "0",
            "mcast_snooping",
            "0",
        ])?;
        namespace.ip(&["link", "set", "br0", "up"])?;
        Ok(Switch { namespace })
    }

    /// Plugs `host` in: its interface `interface` is wired to the port `port` of the switch.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn plug(&self, host: &Namespace, interface: &str, port: &str, nic: Nic) -> Result<()> {
        let switch = &self.namespace;
        switch.ip(&[
            "link",
            "add",
            port,
            "type",
            "veth",
            "peer",
            "name",
            interface,
            "netns",
            host.name(),
        ])?;
        if let Some(mac) = nic.mac {
            let mac = mac_text(mac);
            host.ip(&["link", "set", interface, "address", &mac])?;
        }
        if let Some((address, prefix)) = nic.address {
            host.ip(&["addr", "add", &format!("{address}/{prefix}"), "dev", interface])?;
        }
        switch.ip(&["link", "set", port, "master", "br0"])?;
        switch.ip(&["link", "set", port, "up"])?;
        host.ip(&["link", "set", interface, "up"])?;
        Ok(())
    }
}

/// Waits until both links of each are up: Kea does not listen on one that is not.
///
/// # Errors
/// When they do not come up within 5 s.
pub fn wait_for_links(namespaces: &[Namespace]) -> Result<()> {
    for namespace in namespaces {
        clock::wait_for("the links", 5_000, || {
            let links = namespace.ip(&["-o", "link", "show"]).ok()?;
            let is_up = |link: &&str| link.contains("LOWER_UP") && !link.contains("LOOPBACK");
            (links.lines().filter(is_up).count() == 2).then_some(())
        })?;
    }
    Ok(())
}

/// What an interface has from the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nic {
    pub mac: Option<[u8; 6]>,
    /// Address and prefix length.
    pub address: Option<(Ipv4Addr, u8)>,
}

/// `02:4c:00:00:00:01`.
pub fn mac_text(mac: [u8; 6]) -> String {
    mac.map(|byte| format!("{byte:02x}")).join(":")
}

/// The hardware address in a text like `02:4c:00:00:00:01`.
pub fn mac_from_text(text: &str) -> Option<[u8; 6]> {
    let bytes: Vec<u8> =
        text.split(':').map(|part| u8::from_str_radix(part, 16)).collect::<Result<_, _>>().ok()?;
    bytes.try_into().ok()
}
