//! Advertising sensors in the air of [`FakeBluez`]: device objects that carry what a test lets them say.
//!
//! Property types are those of BlueZ's org.bluez.Device document: `ManufacturerData` a{qv}, `ServiceData` a{sv}, each value
//! an array of bytes.

use std::collections::HashMap;

use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{fdo, interface};

use super::failed;
use super::fake::{ADAPTER, FakeBluez};
use super::gatt::{path, uuid};
use crate::RigError;

/// One part of an advertisement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoken {
    /// Manufacturer data: company, bytes.
    Manufacturer(u16, Vec<u8>),
    /// Service data: 16-bit UUID, bytes.
    Service(u16, Vec<u8>),
}

struct SensorDevice {
    address: String,
    manufacturer: HashMap<u16, Vec<u8>>,
    service: HashMap<u16, Vec<u8>>,
}

fn bytes(value: &[u8]) -> Option<OwnedValue> {
    Value::from(value.to_vec()).try_into().ok()
}

#[interface(name = "org.bluez.Device1")]
impl SensorDevice {
    #[zbus(property)]
    fn address(&self) -> &str {
        &self.address
    }

    #[zbus(property)]
    fn address_type(&self) -> &str {
        "public"
    }

    #[zbus(property)]
    fn alias(&self) -> &str {
        "sensor"
    }

    #[zbus(property)]
    fn paired(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn trusted(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn blocked(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn legacy_pairing(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn connected(&self) -> bool {
        false
    }

    #[zbus(property)]
    fn services_resolved(&self) -> bool {
        false
    }

    #[zbus(property, name = "RSSI")]
    fn rssi(&self) -> i16 {
        -70
    }

    #[zbus(property)]
    fn manufacturer_data(&self) -> HashMap<u16, OwnedValue> {
        self.manufacturer.iter().filter_map(|(company, data)| Some((*company, bytes(data)?))).collect()
    }

    #[zbus(property)]
    fn service_data(&self) -> HashMap<String, OwnedValue> {
        self.service.iter().filter_map(|(short, data)| Some((uuid(*short), bytes(data)?))).collect()
    }

    #[zbus(property)]
    fn adapter(&self) -> Result<OwnedObjectPath, fdo::Error> {
        path(ADAPTER).map_err(Into::into)
    }
}

impl FakeBluez {
    /// A sensor at `address` is heard saying this, whether somebody scans or not. The first time its device object
    /// appears; later its property changes, also to the same bytes, as BlueZ tells it to a client that asked for duplicates.
    pub async fn say(&self, address: &str, spoken: &Spoken) -> Result<(), RigError> {
        self.speak(address, spoken).await.map_err(|e| failed("sensor on the fake org.bluez", &e))
    }

    async fn speak(&self, address: &str, spoken: &Spoken) -> zbus::Result<()> {
        let place = format!("{ADAPTER}/dev_{}", address.replace(':', "_"));
        let server = self.connection.object_server();
        if let Ok(device) = server.interface::<_, SensorDevice>(place.as_str()).await {
            let mut body = device.get_mut().await;
            return match spoken {
                Spoken::Manufacturer(company, data) => {
                    body.manufacturer.insert(*company, data.clone());
                    body.manufacturer_data_changed(device.signal_emitter()).await
                }
                Spoken::Service(short, data) => {
                    body.service.insert(*short, data.clone());
                    body.service_data_changed(device.signal_emitter()).await
                }
            };
        }
        let (mut manufacturer, mut service) = (HashMap::new(), HashMap::new());
        match spoken {
            Spoken::Manufacturer(company, data) => drop(manufacturer.insert(*company, data.clone())),
            Spoken::Service(short, data) => drop(service.insert(*short, data.clone())),
        }
        let body = SensorDevice { address: address.to_owned(), manufacturer, service };
        server.at(place.as_str(), body).await.map(|_| ())
    }
}
