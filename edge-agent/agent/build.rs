//! Hands the linker the order of the functions that run every day, see `hil-tests/release/src/order.rs`. Only what ships is
//! ordered: a build for tests has no need of it.

fn main() {
    println!("cargo::rerun-if-changed=order.ld");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|found| found == value);
    if is("PROFILE", "release") && is("CARGO_CFG_TARGET_OS", "linux") {
        let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
        println!("cargo::rustc-link-arg-bins=-Wl,-T,{folder}/order.ld");
    }
}
