//! Which addresses a name may lead to: public ones, and those that an operator lists.
//!
//! A name that is granted may still lead anywhere: to this machine, to the cluster's own network, to the address from which
//! a cloud hands out credentials. So what a name resolved to is looked at before the connection is made, to that very address.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Addresses with the same first bits: `10.96.0.0/12`, `127.0.0.1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AddressRange {
    address: IpAddr,
    bits: u8,
}

/// Why a text is no range of addresses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is no address and no range of addresses such as `10.96.0.0/12`")]
pub struct RangeError;

impl AddressRange {
    /// Reads an address or a range.
    ///
    /// # Errors
    /// The end of a sentence that begins with the text.
    pub fn parse(text: &str) -> Result<AddressRange, RangeError> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| RangeError)?;
        let most = if address.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.bytes().all(|byte| byte.is_ascii_digit()) => {
                bits.parse().map_err(|_| RangeError)?
            }
            Some(_) => return Err(RangeError),
        };
        if bits > most { Err(RangeError) } else { Ok(AddressRange { address, bits }) }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                own.to_bits() & mask == other.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl fmt::Display for AddressRange {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.address)?;
        let most = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == most { Ok(()) } else { write!(formatter, "/{}", self.bits) }
    }
}

/// What decides of an address that a name led to.
pub(crate) struct AddressRules<'a>(pub(crate) &'a [AddressRange]);

impl AddressRules<'_> {
    /// Why there is no connection to it, if there is none.
    pub(crate) fn refuse(&self, address: IpAddr) -> Option<&'static str> {
        let kind = kept_back(address)?;
        let listed = |address| self.0.iter().any(|range| range.contains(address));
        (!listed(address) && !listed(address.to_canonical())).then_some(kind)
    }
}

/// What kind of address this is, if it is not a public one.
fn kept_back(address: IpAddr) -> Option<&'static str> {
    match address {
        IpAddr::V4(address) => kept_back_v4(address),
        IpAddr::V6(address) => kept_back_v6(address),
    }
}

/// IANA's registry of special addresses, and the one public address from which a cloud (Azure) serves its machines.
fn kept_back_v4(address: Ipv4Addr) -> Option<&'static str> {
    let [a, b, c, _] = address.octets();
    match (a, b, c) {
        (127, ..) => Some("a loopback address"),
        (10, ..) | (172, 16..=31, _) | (192, 168, _) => Some("a private address"),
        (100, 64..=127, _) => Some("an address of a carrier's network"),
        (169, 254, _) => Some("a link-local address"),
        (224..=239, ..) => Some("a multicast address"),
        (0 | 240..=255, ..)
        | (192, 0, 0 | 2)
        | (192, 88, 99)
        | (198, 18..=19, _)
        | (198, 51, 100)
        | (203, 0, 113) => Some("a reserved address"),
        _ if address == Ipv4Addr::new(168, 63, 129, 16) => Some("a metadata address"),
        _ => None,
    }
}

fn kept_back_v6(address: Ipv6Addr) -> Option<&'static str> {
    if address.is_loopback() {
        return Some("a loopback address");
    }
    let segments = address.segments();
    // IPv4 in disguise is judged by what it leads to: mapped, NAT64, 6to4.
    let [.., high, low] = segments;
    let embedded = match segments {
        [0, 0, 0, 0, 0, 0xffff, ..] | [0x64, 0xff9b, 0, 0, 0, 0, ..] => Some((high, low)),
        [0x2002, high, low, ..] => Some((high, low)),
        _ => None,
    };
    if let Some((high, low)) = embedded {
        return kept_back_v4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)));
    }
    match segments[0] {
        0xfc00..=0xfdff => Some("a private address"),
        0xfe80..=0xfebf => Some("a link-local address"),
        0xff00..=0xffff => Some("a multicast address"),
        // Teredo and other protocols' own, documentation.
        0x2001 if segments[1] < 0x200 || segments[1] == 0xdb8 => Some("a reserved address"),
        0x3fff if segments[1] < 0x1000 => Some("a reserved address"),
        0x2000..=0x3fff => None,
        _ => Some("a reserved address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(text: &str) -> Option<&'static str> {
        kept_back(text.parse().unwrap_or_else(|_| panic!("{text}")))
    }

    #[test]
    fn public_addresses_pass() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::1",
            "2001:4860:4860::8888",
            "64:ff9b::8.8.8.8",
            "::ffff:8.8.8.8",
            "2002:808:808::1",
        ] {
            assert_eq!(kind(public), None, "{public}");
        }
    }

    #[test]
    fn all_others_are_kept_back_in_every_disguise() {
        for other in [
            "127.0.0.1",
            "127.255.255.254",
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.100.100.200",
            "169.254.169.254",
            "168.63.129.16",
            "192.0.0.192",
            "192.0.2.1",
            "198.18.0.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:169.254.169.254",
            "::ffff:10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a9fe:a9fe::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "100::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "4000::1",
        ] {
            assert!(kind(other).is_some(), "{other}");
        }
    }

    #[test]
    fn what_is_listed_passes_and_nothing_beside_it() {
        let ranges =
            ["10.96.0.0/12", "127.0.0.1", "fd00::/8"].map(|text| AddressRange::parse(text).expect("a range"));
        let rules = AddressRules(&ranges);
        for good in ["10.96.0.1", "10.111.255.255", "127.0.0.1", "::ffff:10.96.0.1", "fd12::1", "1.1.1.1"] {
            assert_eq!(rules.refuse(good.parse().expect("an address")), None, "{good}");
        }
        for bad in ["10.112.0.1", "127.0.0.2", "169.254.169.254", "fe80::1"] {
            assert!(rules.refuse(bad.parse().expect("an address")).is_some(), "{bad}");
        }
    }

    #[test]
    fn ranges_are_read_strictly() {
        for good in ["10.0.0.0/8", "0.0.0.0/0", "::/0", "::1", "192.168.1.1/32"] {
            assert!(AddressRange::parse(good).is_ok(), "{good}");
        }
        for bad in
            ["10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/+8", "private", "", "010.0.0.1"]
        {
            assert!(AddressRange::parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AddressRange::parse("10.0.0.0/8").expect("a range").to_string(), "10.0.0.0/8");
        assert_eq!(AddressRange::parse("::1").expect("a range").to_string(), "::1");
    }
}
