//! The store of the day as a configuration file: 4 scales, 40 cabinets, 60 tags, 6 steamers.

use crate::catalogue::{FIRST_SKU, STORE};
use crate::programs::Places;
use crate::{cold, customers, kitchen};
use anyhow::{Context, Result};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Scales of the store.
pub(crate) const SCALES: u64 = 4;
/// Shelf tags of the store.
pub(crate) const TAGS: u16 = 60;
/// Articles on the shelf; the first ten have two tags each.
pub(crate) const ARTICLES: u64 = 50;
/// Model of every tag: 212 x 104, black, white, red.
pub(crate) const TAG_MODEL: u16 = 11;

/// Ports and paths of the devices.
#[derive(Clone, Debug)]
pub(crate) struct Devices {
    /// Gateway of the cabinets.
    pub(crate) cold_port: u16,
    /// Gateway of the steamers.
    pub(crate) steam_port: u16,
    /// Folder of the serial ports.
    pub(crate) serial: PathBuf,
    /// 1-Wire tree.
    pub w1: PathBuf,
    /// Device profiles.
    pub(crate) profiles: PathBuf,
}

impl Devices {
    /// Reserves ports and folders in the run's folder.
    pub(crate) fn new(folder: &Path, profiles: &Path) -> Result<Self> {
        let (serial, w1) = (folder.join("serial"), folder.join("w1"));
        std::fs::create_dir_all(&serial).context("create the folder of the serial ports")?;
        std::fs::create_dir_all(&w1).context("create the 1-Wire tree")?;
        Ok(Self {
            cold_port: hil_rig::ports::reserve()?,
            steam_port: hil_rig::ports::reserve()?,
            serial,
            w1,
            profiles: profiles.into(),
        })
    }

    /// Serial port of a scale, counted from 1.
    pub(crate) fn scale_port(&self, number: u64) -> PathBuf {
        self.serial.join(format!("scale-{number}"))
    }

    /// Serial port of the cabinets' bus.
    pub(crate) fn cold_line(&self) -> PathBuf {
        self.serial.join("cold")
    }
}

/// Address of a tag, counted from 0.
pub(crate) fn tag_address(index: u16) -> String {
    let [high, low] = index.to_be_bytes();
    format!("FF:FF:92:00:{high:02X}:{low:02X}")
}

/// Name of a tag, counted from 0.
pub(crate) fn tag_name(index: u16) -> String {
    format!("tag-{:02}", index + 1)
}

/// Article of a tag, counted from 0.
pub(crate) fn tag_sku(index: u16) -> u64 {
    FIRST_SKU + u64::from(index) % ARTICLES
}

/// The configuration file.
///
/// `patient`: a busy machine is not taken for a silent device.
pub(crate) fn config(places: &Places, devices: &Devices, patient: bool) -> Result<String> {
    let patience = if patient { "lost_after_ms = 5000\n" } else { "" };
    let mut text = String::new();
    head(&mut text, places, &devices.profiles)?;
    buses(&mut text, devices)?;
    for number in 1..=SCALES {
        writeln!(
            text,
            "[[scale]]\nid = \"scale-{number}\"\nprotocol = \"toledo-8217\"\nport = \"{}\"\nbaud = 9600\n\
             interval_g = {}\ncapacity_g = {}\npoll_ms = 200\n{patience}",
            devices.scale_port(number).display(),
            customers::INTERVAL_G,
            customers::CAPACITY_G
        )?;
    }
    for index in 0..cold::CABINETS {
        cabinet(&mut text, index)?;
    }
    for index in 0..kitchen::STEAMERS {
        writeln!(
            text,
            "[[steamer]]\nid = \"{}\"\nbus = \"steam\"\nunit = {}\nprofile = \"steamer-e5cc\"\npoll_ms = 500\n{patience}",
            kitchen::name(index),
            kitchen::unit(index)
        )?;
    }
    for index in 0..TAGS {
        writeln!(
            text,
            "[[tag]]\nid = \"{}\"\naddress = \"{}\"\nmodel = {TAG_MODEL}\nsku = {}\n",
            tag_name(index),
            tag_address(index),
            tag_sku(index)
        )?;
    }
    Ok(text)
}

/// Everything but the devices.
pub(crate) fn head(text: &mut String, places: &Places, profiles: &Path) -> std::fmt::Result {
    writeln!(
        text,
        "[store]\nid = {STORE}\ncurrency = \"CNY\"\nutc_offset_minutes = 480\n\n[ledger]\ndir = \"store\"\n\
         reserve_bytes = 1048576\n\n[api]\nsocket = \"agent.sock\"\nlisten = \"127.0.0.1:{}\"\n\n[hq]\n\
         host = \"127.0.0.1\"\nport = {}\nkeep_alive_s = 5\nlinger_ms = 200\nretry_min_ms = 500\nretry_max_ms = 4000\n\
         hello_s = 3\n\n[channels]\nshop = 1000\nweb = 300\n\n[profiles]\ndir = \"{}\"\n\n[prices]\ntick_ms = 100\n\
         retry_min_s = 1\nretry_max_s = 5\ntags_in_flight = 8\nrefresh_s = 0\nrest_s = 10\n",
        places.till_port,
        places.link_port,
        profiles.display()
    )
}

fn buses(text: &mut String, devices: &Devices) -> std::fmt::Result {
    writeln!(
        text,
        "[w1]\nroot = \"{}\"\n\n[ble]\nconnect_timeout_ms = 5000\nlost_after_ms = 60000\n\n\
         [[bus]]\nid = \"cold-net\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{}\"\ntimeout_ms = 1000\n\n\
         [[bus]]\nid = \"cold-line\"\nkind = \"modbus-rtu\"\nport = \"{}\"\nbaud = 19200\ntimeout_ms = 1000\n\n\
         [[bus]]\nid = \"steam\"\nkind = \"modbus-tcp\"\naddress = \"127.0.0.1:{}\"\ntimeout_ms = 1000\n",
        devices.w1.display(),
        devices.cold_port,
        devices.cold_line().display(),
        devices.steam_port
    )
}

fn cabinet(text: &mut String, index: u8) -> std::fmt::Result {
    let at = match cold::address(index) {
        cold::Address::Net(unit) => {
            let profile = if cold::is_probe(unit) { "generic-probe" } else { "danfoss-ak-cc55" };
            format!("bus = \"cold-net\"\nunit = {unit}\nprofile = \"{profile}\"")
        }
        cold::Address::Line(unit) => {
            format!("bus = \"cold-line\"\nunit = {unit}\nprofile = \"danfoss-ak-cc55\"")
        }
        cold::Address::Wire(probe) => format!("w1 = \"{}\"", cold::sensor(probe)),
    };
    writeln!(
        text,
        "[[cabinet]]\nid = \"{}\"\n{at}\npoll_ms = 1000\nlost_after_ms = 6000\nhigh_mc = {}\nlow_mc = -5000\n\
         delay_s = {}\ndifference_mc = {}\n",
        cold::name(index),
        cold::HIGH_MC,
        cold::DELAY_S,
        cold::DIFFERENCE_MC
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_article_of_the_shelf_has_a_tag_and_every_tag_its_own_address() {
        let skus: std::collections::BTreeSet<u64> = (0..TAGS).map(tag_sku).collect();
        assert_eq!(u64::try_from(skus.len()).unwrap(), ARTICLES);
        let addresses: std::collections::BTreeSet<String> = (0..TAGS).map(tag_address).collect();
        assert_eq!(addresses.len(), usize::from(TAGS));
    }
}
