//! A configuration of dnsmasq that starts machines from this server.
//!
//! In: an interface and its network, the URL of the boot files. Out: a complete configuration, with the reasons in it.
//! Promise: BIOS, UEFI, UEFI HTTP and Secure Boot clients each get something that they can start.

use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// What is known of the network.
#[derive(Clone, Debug)]
pub struct Dnsmasq {
    /// The interface.
    pub interface: String,
    /// First and last address to give away; for a proxy the network's address twice.
    pub range: (Ipv4Addr, Ipv4Addr),
    /// Its mask.
    pub mask: Ipv4Addr,
    /// `http://HOST:PORT`
    pub boot_url: String,
    /// The TFTP server.
    pub tftp: Ipv4Addr,
    /// dnsmasq serves TFTP itself, from this folder.
    pub tftp_root: Option<PathBuf>,
    /// Another server gives the addresses.
    pub proxy: bool,
    /// UEFI machines without iPXE start shim.
    pub shim: bool,
    /// UEFI machines start the agent over HTTP.
    pub uki: bool,
}

/// Processor types of RFC 4578 and IANA's registry, as tags.
const MATCHES: &str = "\
# Who asks: iPXE (it says so by option 175), BIOS, UEFI on x86-64 (two numbers), the same over HTTP.
dhcp-match=set:ipxe,175
dhcp-match=set:bios,option:client-arch,0
dhcp-match=set:uefi,option:client-arch,7
dhcp-match=set:uefi,option:client-arch,9
dhcp-match=set:http,option:client-arch,16
";

const ROUTER: &str = "\
# Router advertisements: without an IPv6 router iPXE waits for one, 13 seconds at each start. They carry a unique local
# prefix and no way out, and need an address in it: ip -6 addr add fd52:616d:6574::1/64 dev @IF@
# If this network has an IPv6 router, remove these three lines.
enable-ra
dhcp-range=fd52:616d:6574::,ra-only
ra-param=@IF@,0,0
";

impl Dnsmasq {
    /// The text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Ramet: network boot on {interface}. Written by `ramet netboot dnsmasq`; dnsmasq -C FILE\n\
             # DNS is off; remove the next line if dnsmasq shall serve that too.\n\
             port=0\n\
             interface={interface}\n\
             bind-interfaces\n\
             log-dhcp\n\n",
            interface = self.interface
        );
        text.push_str(&self.addresses());
        text.push_str(&self.tftp());
        text.push_str(MATCHES);
        text.push('\n');
        text.push_str(&if self.proxy { self.services() } else { self.files() });
        text.push('\n');
        text.push_str(&ROUTER.replace("@IF@", &self.interface));
        text
    }

    fn addresses(&self) -> String {
        let (first, last) = self.range;
        if self.proxy {
            return format!(
                "# Another DHCP server gives the addresses; this one only says what to start.\n\
                 dhcp-range={first},proxy,{}\n\n",
                self.mask
            );
        }
        format!(
            "# Without the check whether an address is taken already (3 s per offer); dnsmasq alone gives these away.\n\
             no-ping\n\
             dhcp-range={first},{last},{},1h\n\n",
            self.mask
        )
    }

    fn tftp(&self) -> String {
        let Some(root) = &self.tftp_root else {
            return format!("# TFTP comes from `ramet serve --tftp {}:69`.\n\n", self.tftp);
        };
        let url = &self.boot_url;
        format!(
            "# TFTP comes from here. The first script is the same for all machines: it asks {url}, and starts the\n\
             # machine's own disk when nobody answers there. Fill the folder, and again after each `ramet boot install`:\n\
             #   for f in boot.ipxe undionly.kpxe snponly.efi shimx64.efi grubx64.efi mmx64.efi vmlinuz initramfs.zst; do\n\
             #     curl -fo {root}/$f {url}/$f; done; mkdir -p {root}/grub; curl -fo {root}/grub/grub.cfg {url}/grub.cfg\n\
             # GRUB's configuration of a machine is rendered by `ramet serve --tftp`: Secure Boot clients need that.\n\
             enable-tftp\n\
             tftp-root={root}\n\n",
            root = root.display()
        )
    }

    /// iPXE's first script: from the disk of dnsmasq, where there is one.
    fn script(&self) -> String {
        if self.tftp_root.is_some() { "boot.ipxe".to_owned() } else { format!("{}/boot.ipxe", self.boot_url) }
    }

    fn loader(&self) -> &'static str {
        if self.shim { "shimx64.efi" } else { "snponly.efi" }
    }

    /// DHCP with a file for each.
    fn files(&self) -> String {
        // dnsmasq's own address where it serves TFTP itself.
        let server = if self.tftp_root.is_some() { String::new() } else { format!(",,{}", self.tftp) };
        let (script, loader, url) = (self.script(), self.loader(), &self.boot_url);
        let mut text = String::new();
        let script_server = if self.tftp_root.is_some() { "" } else { server.as_str() };
        let _ = write!(
            text,
            "dhcp-boot=tag:ipxe,{script}{script_server}\n\
             dhcp-boot=tag:!ipxe,tag:bios,undionly.kpxe{server}\n"
        );
        if self.shim {
            text.push_str(
                "# shim starts GRUB, with and without Secure Boot; both come over TFTP, as do kernel and initramfs.\n",
            );
        } else {
            text.push_str(
                "# iPXE is not signed for Secure Boot. A machine that has it on: dhcp-host=52:54:00:12:34:56,set:secure\n",
            );
            let _ = writeln!(text, "dhcp-boot=tag:!ipxe,tag:uefi,tag:secure,shimx64.efi{server}");
        }
        let tag = if self.shim { "" } else { ",tag:!secure" };
        let file = if self.uki { "ramet.efi" } else { "snponly.efi" };
        let _ = write!(
            text,
            "dhcp-boot=tag:!ipxe,tag:uefi{tag},{loader}{server}\n\
             # UEFI HTTP boot: firmware takes an offer only if its vendor class comes back.\n\
             dhcp-option-force=tag:http,60,HTTPClient\n\
             dhcp-boot=tag:!ipxe,tag:http,{url}/{file}\n"
        );
        text
    }

    /// A proxy offers services instead: iPXE ignores the file name of a proxy's answer.
    fn services(&self) -> String {
        let server = if self.tftp_root.is_some() { String::new() } else { format!(",{}", self.tftp) };
        let (script, loader) = (self.script(), self.loader());
        let script_server = if self.tftp_root.is_some() { "" } else { server.as_str() };
        let mut text = "# A proxy cannot offer UEFI HTTP boot.\npxe-prompt=\"Ramet\",0\n".to_owned();
        for kind in ["x86PC", "X86-64_EFI", "BC_EFI"] {
            let _ = writeln!(text, "pxe-service=tag:ipxe,{kind},\"Ramet\",{script}{script_server}");
        }
        let _ = writeln!(text, "pxe-service=tag:!ipxe,x86PC,\"Ramet\",undionly.kpxe{server}");
        for kind in ["X86-64_EFI", "BC_EFI"] {
            let _ = writeln!(text, "pxe-service=tag:!ipxe,{kind},\"Ramet\",{loader}{server}");
        }
        text
    }
}
