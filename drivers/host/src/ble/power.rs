//! Powers an adapter off and on: a property of BlueZ that btleplug has no call for, so it is set over D-Bus directly.

use std::time::Duration;

use dbus::blocking::Connection;
use dbus::blocking::stdintf::org_freedesktop_dbus::Properties as _;

/// Limit for one call.
const CALL_LIMIT: Duration = Duration::from_secs(5);
/// How long the adapter stays off: controllers need a moment to reset.
const OFF: Duration = Duration::from_millis(500);
/// Limit for the whole cycle.
pub(super) const CYCLE_LIMIT: Duration = Duration::from_secs(15);

/// Powers `adapter` (`hci0`) off and on. Blocks; takes [`CYCLE_LIMIT`] at most.
pub(super) fn cycle(adapter: &str) -> Result<(), String> {
    let text =
        |what: &'static str| move |error: dbus::Error| format!("power cycle of the adapter, {what}: {error}");
    let connection = Connection::new_system().map_err(text("D-Bus"))?;
    let adapter = connection.with_proxy("org.bluez", format!("/org/bluez/{adapter}"), CALL_LIMIT);
    // An adapter that hangs may refuse to go off and still come back with the second call.
    if let Err(error) = adapter.set("org.bluez.Adapter1", "Powered", false) {
        tracing::warn!("{}", text("off")(error));
    }
    std::thread::sleep(OFF);
    adapter.set("org.bluez.Adapter1", "Powered", true).map_err(text("on"))
}
