//! What the machine is.

use std::path::{Path, PathBuf};

use super::files;
use crate::sense::HostSense;

pub(super) struct Host {
    root: PathBuf,
}

impl Host {
    pub(super) fn new(root: &Path) -> Host {
        Host { root: root.to_owned() }
    }
}

impl HostSense for Host {
    fn host(&mut self) -> crate::Host {
        let at = |path: &str| self.root.join(path);
        let release = files::text(&at("etc/os-release")).or_else(|| files::text(&at("usr/lib/os-release")));
        let release = release.unwrap_or_default();
        crate::Host {
            name: files::words(&at("proc/sys/kernel/hostname")),
            os: variable(&release, "NAME"),
            os_version: variable(&release, "VERSION_ID"),
            kernel: files::words(&at("proc/sys/kernel/osrelease")),
            arch: std::env::consts::ARCH.to_owned(),
            model: model(&self.root),
            chip: chip(&self.root),
        }
    }
}

/// A variable of os-release(5), which is written like one of a shell.
fn variable(release: &str, name: &str) -> Option<String> {
    let value = release.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))?;
    let value = value.trim_matches(['"', '\'']).trim();
    (!value.is_empty()).then(|| value.chars().filter(|letter| !letter.is_control()).take(128).collect())
}

/// From the firmware's tables, or from the device tree of boards that have none.
fn model(root: &Path) -> Option<String> {
    let dmi = |file: &str| files::words(&root.join("sys/class/dmi/id").join(file));
    // Lenovo puts the name that people know into the version, and a number into the name.
    let maker = dmi("sys_vendor");
    let product = match maker.as_deref() {
        Some("LENOVO") => dmi("product_version").or_else(|| dmi("product_name")),
        _ => dmi("product_name"),
    };
    match (maker, product) {
        (Some(maker), Some(product)) if !product.to_lowercase().starts_with(&maker.to_lowercase()) => {
            Some(format!("{maker} {product}"))
        }
        (_, Some(product)) => Some(product),
        (_, None) => files::words(&root.join("proc/device-tree/model")),
    }
}

/// `model name` of `proc/cpuinfo`; ARM has none there.
fn chip(root: &Path) -> Option<String> {
    let told = files::text(&root.join("proc/cpuinfo"))?;
    let line = told.lines().find_map(|line| line.strip_prefix("model name"))?;
    let name = line.trim_start().strip_prefix(':')?.trim();
    (!name.is_empty()).then(|| name.chars().filter(|letter| !letter.is_control()).take(128).collect())
}
