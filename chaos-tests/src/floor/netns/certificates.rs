//! Certificates for nodes, made as an operator makes them: with `cluster-ctl pki`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::cluster::Cluster;
use crate::{gate, shell};

/// An authority: the files of one `cluster-ctl pki init`, and so one cluster id.
#[derive(Debug, Clone)]
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes one in the new directory `dir`.
    ///
    /// # Errors
    /// When `cluster-ctl pki` fails.
    pub fn create(dir: &Path) -> Result<Authority> {
        pki(&["init", "--out"], dir)?;
        Ok(Authority { dir: dir.to_owned() })
    }

    /// The id of its cluster, as it is shown.
    ///
    /// # Errors
    /// When there is no file of it.
    pub fn cluster_id(&self) -> Result<String> {
        Ok(std::fs::read_to_string(self.dir.join("cluster-id"))?.trim().to_owned())
    }

    /// Gives node `index` a certificate, and names it in its settings in the place of `insecure`, or of the certificate that it had.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn equip(&self, cluster: &Cluster, index: usize) -> Result<()> {
        let (node, ca) = (&cluster.nodes[index], self.dir.display());
        let name = node.settings_name();
        pki(&["issue", "--ca", &ca.to_string(), "--replace", &name, "--out"], node.dir())?;
        let own = node.dir().join(name).display().to_string();
        let files = format!(
            "trust-anchor = \"{ca}/ca.pem\"\ncert-file = \"{own}.pem\"\nkey-file = \"{own}.key\""
        );
        let settings = std::fs::read_to_string(node.settings_file())?;
        let kept = settings
            .lines()
            .filter(|line| !line.starts_with("cert-file =") && !line.starts_with("key-file ="));
        let put = kept.map(|line| match line {
            "insecure = true" => &files,
            _ if line.starts_with("trust-anchor =") => &files,
            _ => line,
        });
        Ok(std::fs::write(node.settings_file(), put.collect::<Vec<&str>>().join("\n"))?)
    }
}

fn pki(args: &[&str], dir: &Path) -> Result<()> {
    let ctl = gate::binary("cluster-ctl", "CLUSTER_CTL_BIN")?;
    shell::run(Command::new(ctl).arg("pki").args(args).arg(dir)).map(|_| ())
}
