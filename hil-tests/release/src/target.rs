//! What can be built for.

use anyhow::{Result, bail};

/// A kind of gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// 64-bit ARM, one static file.
    Aarch64Musl,
    /// 64-bit ARM, the distribution's C library.
    Aarch64Gnu,
    /// 32-bit ARM with hardware floating point.
    Armv7,
    /// A PC.
    Amd64,
}

impl Target {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Aarch64Musl, Self::Aarch64Gnu, Self::Armv7, Self::Amd64];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aarch64Musl => "aarch64-musl",
            Self::Aarch64Gnu => "aarch64-gnu",
            Self::Armv7 => "armv7",
            Self::Amd64 => "amd64",
        }
    }

    /// By its name; the error names what there is.
    pub fn parse(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|target| target.name() == name) {
            Some(target) => Ok(target),
            None => {
                let names: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
                bail!("expected one of {}; found \"{name}\"", names.join(", "))
            }
        }
    }

    /// Debian's name of the architecture.
    pub fn debian(self) -> &'static str {
        match self {
            Self::Aarch64Musl | Self::Aarch64Gnu => "arm64",
            Self::Armv7 => "armhf",
            Self::Amd64 => "amd64",
        }
    }

    /// The machine as `readelf -h` names it.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Aarch64Musl | Self::Aarch64Gnu => "AArch64",
            Self::Armv7 => "ARM",
            Self::Amd64 => "Advanced Micro Devices X86-64",
        }
    }

    /// Rust's name with rustup and zig: static wherever musl is used.
    pub fn by_zig(self) -> &'static str {
        match self {
            Self::Aarch64Musl => "aarch64-unknown-linux-musl",
            Self::Aarch64Gnu => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-musleabihf",
            Self::Amd64 => "x86_64-unknown-linux-musl",
        }
    }

    /// Rust's name with Debian's compiler, which has glibc only.
    pub fn by_debian(self) -> &'static str {
        match self {
            Self::Aarch64Musl | Self::Aarch64Gnu => "aarch64-unknown-linux-gnu",
            Self::Armv7 => "armv7-unknown-linux-gnueabihf",
            Self::Amd64 => "x86_64-unknown-linux-gnu",
        }
    }

    /// Prefix of Debian's binutils and gcc.
    pub fn gnu_prefix(self) -> &'static str {
        match self {
            Self::Aarch64Musl | Self::Aarch64Gnu => "aarch64-linux-gnu",
            Self::Armv7 => "arm-linux-gnueabihf",
            Self::Amd64 => "x86_64-linux-gnu",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_target_names_what_is_possible() {
        for target in Target::ALL {
            assert_eq!(Target::parse(target.name()).unwrap(), target);
        }
        let error = Target::parse("riscv").unwrap_err().to_string();
        assert_eq!(error, "expected one of aarch64-musl, aarch64-gnu, armv7, amd64; found \"riscv\"");
    }
}
