//! The fuzz targets by name; see Cargo.toml.

/// Runs the target `name`.
pub fn run(name: &str, data: &[u8]) {
    match store::fuzz::TARGETS.iter().find(|(target, _)| *target == name) {
        Some((_, target)) => target(data),
        None => panic!("there is no target {name}"),
    }
}
