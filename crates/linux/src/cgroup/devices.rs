//! Which devices a group may touch. Version 1 has files for that; version 2 asks a small program of the kernel's
//! (`BPF_PROG_TYPE_CGROUP_DEVICE`), which is assembled here.

use crate::error::{Context, Result};
use rustix::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use serde::{Deserialize, Serialize};

/// Character or block device.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DeviceKind {
    /// All devices.
    Any,
    /// Block devices.
    Block,
    /// Character devices.
    Character,
}

/// Devices that are allowed.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DeviceRule {
    /// Which kind.
    pub kind: DeviceKind,
    /// Which major number; `None` is any.
    pub major: Option<u32>,
    /// Which minor number; `None` is any.
    pub minor: Option<u32>,
    /// May be read.
    pub read: bool,
    /// May be written.
    pub write: bool,
    /// Nodes may be made.
    pub make: bool,
}

impl DeviceRule {
    /// Everything of everything.
    pub const ALL: Self =
        Self { kind: DeviceKind::Any, major: None, minor: None, read: true, write: true, make: true };
}

/// The form of version 1's `devices.allow`.
impl std::fmt::Display for DeviceRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            DeviceKind::Any => 'a',
            DeviceKind::Block => 'b',
            DeviceKind::Character => 'c',
        };
        let number = |of: Option<u32>| of.map_or_else(|| "*".to_owned(), |number| number.to_string());
        write!(f, "{kind} {}:{} ", number(self.major), number(self.minor))?;
        for (allowed, letter) in [(self.read, 'r'), (self.write, 'w'), (self.make, 'm')] {
            if allowed {
                write!(f, "{letter}")?;
            }
        }
        Ok(())
    }
}

/// One instruction of the kernel's virtual machine (linux/bpf.h).
#[repr(C)]
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

const fn op(code: u8, to: u8, from: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers: from << 4 | to, offset, immediate }
}

// Opcodes (linux/bpf_common.h, linux/bpf.h).
const LOAD_WORD: u8 = 0x61;
const AND_IMMEDIATE: u8 = 0x54;
const SHIFT_RIGHT: u8 = 0x74;
const MOVE: u8 = 0xbc;
const SET: u8 = 0xb4;
const JUMP_UNLESS_IMMEDIATE: u8 = 0x55;
const JUMP_UNLESS: u8 = 0x5d;
const EXIT: u8 = 0x95;

// struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor. Registers: 2 type, 3 access, 4 major, 5 minor.
fn program(rules: &[DeviceRule]) -> Vec<Instruction> {
    let mut code = vec![
        op(LOAD_WORD, 2, 1, 0, 0),
        op(AND_IMMEDIATE, 2, 0, 0, 0xffff),
        op(LOAD_WORD, 3, 1, 0, 0),
        op(SHIFT_RIGHT, 3, 0, 0, 16),
        op(LOAD_WORD, 4, 1, 4, 0),
        op(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        code.extend(block(rule));
    }
    code.extend([op(SET, 0, 0, 0, 0), op(EXIT, 0, 0, 0, 0)]);
    code
}

fn block(rule: &DeviceRule) -> Vec<Instruction> {
    let mut tests = Vec::new();
    let kind = match rule.kind {
        DeviceKind::Any => None,
        DeviceKind::Block => Some(1),
        DeviceKind::Character => Some(2),
    };
    if let Some(kind) = kind {
        tests.push(op(JUMP_UNLESS_IMMEDIATE, 2, 0, 0, kind));
    }
    let access = i32::from(rule.make) | i32::from(rule.read) << 1 | i32::from(rule.write) << 2;
    if access != 7 {
        tests.push(op(MOVE, 1, 3, 0, 0));
        tests.push(op(AND_IMMEDIATE, 1, 0, 0, access));
        tests.push(op(JUMP_UNLESS, 1, 3, 0, 0));
    }
    for (register, number) in [(4, rule.major), (5, rule.minor)] {
        if let Some(number) = number {
            tests.push(op(JUMP_UNLESS_IMMEDIATE, register, 0, 0, number.cast_signed()));
        }
    }
    // A failed test jumps behind the two instructions that say yes.
    let length = tests.len();
    for (at, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JUMP_UNLESS | JUMP_UNLESS_IMMEDIATE) {
            test.offset = i16::try_from(length - at - 1 + 2).unwrap_or(0);
        }
    }
    tests.extend([op(SET, 0, 0, 0, 1), op(EXIT, 0, 0, 0, 0)]);
    tests
}

// The parts of union bpf_attr that are used, as the kernel lays them out.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version: u32,
    flags: u32,
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

const PROGRAM_LOAD: i32 = 5;
const PROGRAM_ATTACH: i32 = 8;
const CGROUP_DEVICE_PROGRAM: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const ALLOW_MULTIPLE: u32 = 2;

/// Restricts the version 2 group whose directory is open as `group` to the devices of `rules`.
pub(super) fn attach(group: impl AsFd, rules: &[DeviceRule]) -> Result<()> {
    let code = program(rules);
    let load = Load {
        kind: CGROUP_DEVICE_PROGRAM,
        count: u32::try_from(code.len()).unwrap_or(u32::MAX),
        instructions: code.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log: [0; 2],
        version: 0,
        flags: 0,
    };
    // SAFETY: `load` is the head of union bpf_attr for BPF_PROG_LOAD; both pointers live across the call.
    let raw =
        unsafe { libc::syscall(libc::SYS_bpf, PROGRAM_LOAD, &raw const load, std::mem::size_of::<Load>()) };
    let raw = i32::try_from(raw).unwrap_or(-1);
    if raw < 0 {
        return Err(std::io::Error::last_os_error()).context(|| "load the device filter".to_owned());
    }
    // SAFETY: the kernel just returned this descriptor and nobody else owns it.
    let loaded = unsafe { OwnedFd::from_raw_fd(raw) };
    let attach = Attach {
        target: group.as_fd().as_raw_fd().unsigned_abs(),
        program: loaded.as_raw_fd().unsigned_abs(),
        kind: CGROUP_DEVICE,
        flags: ALLOW_MULTIPLE,
    };
    // SAFETY: `attach` is the head of union bpf_attr for BPF_PROG_ATTACH and names descriptors that are open.
    let done = unsafe {
        libc::syscall(libc::SYS_bpf, PROGRAM_ATTACH, &raw const attach, std::mem::size_of::<Attach>())
    };
    if done == 0 {
        return Ok(());
    }
    Err(std::io::Error::last_os_error()).context(|| "attach the device filter".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_print_as_version_1_wants_them() {
        let null = DeviceRule {
            kind: DeviceKind::Character,
            major: Some(1),
            minor: Some(3),
            make: false,
            ..DeviceRule::ALL
        };
        assert_eq!(null.to_string(), "c 1:3 rw");
        assert_eq!(DeviceRule::ALL.to_string(), "a *:* rwm");
    }

    #[test]
    fn every_jump_lands_on_the_next_block() {
        let rule = DeviceRule {
            kind: DeviceKind::Block,
            major: Some(8),
            minor: Some(1),
            make: false,
            ..DeviceRule::ALL
        };
        let code = block(&rule);
        for (at, instruction) in code.iter().enumerate() {
            if matches!(instruction.code, JUMP_UNLESS | JUMP_UNLESS_IMMEDIATE) {
                assert_eq!(at + 1 + usize::try_from(instruction.offset).unwrap(), code.len());
            }
        }
    }
}
