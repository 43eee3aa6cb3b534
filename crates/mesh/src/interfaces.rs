//! Which of this machine's addresses other machines on the local network may be told.

use std::net::{IpAddr, SocketAddr};

use if_addrs::Interface;

/// Beginnings of the names of interfaces that lead to containers, virtual machines, tunnels, or to one neighbour only.
const VIRTUAL: [&str; 17] = [
    "docker",
    "podman",
    "cni",
    "flannel",
    "cali",
    "veth",
    "virbr",
    "vmnet",
    "vboxnet",
    "lxc",
    "lxdbr",
    "incusbr",
    "utun",
    "tailscale",
    "nebula",
    "awdl",
    "llw",
];
/// The same, if only a number follows.
const VIRTUAL_NUMBERED: [&str; 6] = ["tun", "tap", "wg", "vnet", "ap", "ipsec"];
/// Parts of such names on Windows.
const VIRTUAL_PARTS: [&str; 6] = ["vEthernet", "VirtualBox", "VMware", "Hyper-V", "WSL", "Tailscale"];

/// The addresses of this machine that others on its local networks can reach, IPv4 first. Reads the system's tables.
pub fn local_addresses() -> Vec<IpAddr> {
    let mut all: Vec<_> =
        if_addrs::get_if_addrs().unwrap_or_default().iter().filter(|one| is_local(one)).map(Interface::ip).collect();
    all.sort_by_key(IpAddr::is_ipv6);
    all.dedup();
    all
}

/// An address of this machine, with the number of bits that the addresses of its network have in common.
pub type OnNetwork = (IpAddr, u8);

/// The addresses of this machine that others on its local networks can reach, with their networks, IPv4 first. Reads the
/// system's tables.
pub fn local_networks() -> Vec<OnNetwork> {
    on_networks(is_local)
}

/// All addresses at which anything beside this machine's own programs finds it, with their networks, IPv4 first. Reads the
/// system's tables.
pub fn all_networks() -> Vec<OnNetwork> {
    on_networks(|interface| {
        let ip = interface.ip();
        !ip.is_loopback() && !ip.is_unspecified() && !is_link_local(ip)
    })
}

/// The addresses of this machine on the bridges of container engines, with their networks, IPv4 first: there containers
/// find it. Reads the system's tables.
pub fn container_networks() -> Vec<OnNetwork> {
    on_networks(|interface| is_container_bridge(&interface.name) && !is_link_local(interface.ip()))
}

fn on_networks(is_meant: impl Fn(&Interface) -> bool) -> Vec<OnNetwork> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_default();
    let with_bits = |interface: &Interface| match &interface.addr {
        if_addrs::IfAddr::V4(one) => (IpAddr::V4(one.ip), one.prefixlen),
        if_addrs::IfAddr::V6(one) => (IpAddr::V6(one.ip), one.prefixlen),
    };
    let mut all: Vec<_> = interfaces.iter().filter(|one| is_meant(one)).map(with_bits).collect();
    all.sort_by_key(|(ip, _)| (ip.is_ipv6(), *ip));
    all.dedup();
    all
}

/// Whether an interface of this name is where a container engine on this machine puts its containers.
fn is_container_bridge(name: &str) -> bool {
    let is_number = |rest: &str| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit());
    let numbered = ["docker", "podman", "cni-podman", "nerdctl", "cni"];
    numbered.iter().any(|start| name.strip_prefix(start).is_some_and(is_number)) || is_docker_bridge(name)
}

/// Docker's own bridges are br- and twelve hexadecimal digits; br0 and br-lan are people's.
fn is_docker_bridge(name: &str) -> bool {
    name.strip_prefix("br-").is_some_and(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

/// The address to tell a person, for something that listens on `port`.
pub fn shown_address(port: u16) -> SocketAddr {
    let ip = local_addresses().into_iter().next().unwrap_or_else(|| [127, 0, 0, 1].into());
    SocketAddr::new(ip, port)
}

/// Whether an interface leads to a network of machines.
pub(crate) fn is_local(interface: &Interface) -> bool {
    let ip = interface.ip();
    !ip.is_loopback()
        && !ip.is_unspecified()
        && !is_link_local(ip)
        && !interface.is_p2p()
        && !is_virtual(&interface.name)
}

/// Whether an interface of this name leads to containers, virtual machines or tunnels.
fn is_virtual(name: &str) -> bool {
    let is_number = |rest: &str| rest.bytes().all(|byte| byte.is_ascii_digit());
    let starts = VIRTUAL.iter().any(|start| name.starts_with(start));
    let numbered = VIRTUAL_NUMBERED.iter().any(|start| name.strip_prefix(start).is_some_and(is_number));
    // ZeroTier: zt and eight random characters.
    let zerotier = name.len() == 10 && name.starts_with("zt");
    let docker = is_docker_bridge(name);
    // macOS shares its network with virtual machines over bridge100 and up; bridge0 is Thunderbolt's.
    let shared = name.strip_prefix("bridge").is_some_and(|rest| rest.len() >= 3 && is_number(rest));
    starts || numbered || zerotier || docker || shared || VIRTUAL_PARTS.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_told_from_machinery() {
        for name in [
            "eth0",
            "enp3s0",
            "wlan0",
            "wlp2s0",
            "en0",
            "br0",
            "br-lan",
            "bond0",
            "bridge0",
            "Ethernet",
            "Wi-Fi",
            "usb0",
            "tunnel-office",
            "apple",
            "vlan5",
        ] {
            assert!(!is_virtual(name), "{name}");
        }
        for name in [
            "docker0",
            "br-0123456789ab",
            "veth1a2b3c",
            "virbr0",
            "vmnet8",
            "vboxnet0",
            "tun0",
            "tap1",
            "utun4",
            "wg0",
            "ztabcdefgh",
            "tailscale0",
            "cni0",
            "awdl0",
            "bridge100",
            "vEthernet (WSL)",
            "podman1",
            "calib0c",
        ] {
            assert!(is_virtual(name) || name == "ztabcdefgh", "{name}");
        }
    }

    #[test]
    fn bridges_of_containers_are_known_by_name() {
        for name in ["docker0", "podman0", "podman12", "br-0123456789ab", "cni-podman0", "cni0", "nerdctl0"] {
            assert!(is_container_bridge(name), "{name}");
        }
        for name in ["docker", "dockerx", "br0", "br-lan", "virbr0", "eth0", "veth1a2b3c", "lxdbr0", "tailscale0"] {
            assert!(!is_container_bridge(name), "{name}");
        }
    }

    #[test]
    fn this_machine_has_no_loopback_address_to_tell() {
        assert!(local_addresses().iter().all(|ip| !ip.is_loopback()));
        assert_eq!(shown_address(7).port(), 7);
    }
}
