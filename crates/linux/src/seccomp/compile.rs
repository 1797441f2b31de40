//! From a [`Profile`] to a filter program (seccomp(2), classic BPF) and into the kernel.
//!
//! The program is a list of blocks, one per rule and call: does the number match, do the arguments match, then
//! return the action; else go on with the next block. The kernel caches calls that are always allowed, so the
//! length of the list does not matter to them.

use super::names;
use super::profile::{Action, Argument, Operator, Profile};
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};

/// The kernel's limit for one program, in instructions.
const MAX_INSTRUCTIONS: usize = 4096;

// Opcodes of classic BPF (linux/bpf_common.h): load word at offset, return constant, jumps, and.
const LOAD: u16 = 0x20;
const RETURN: u16 = 0x06;
const JUMP_EQUAL: u16 = 0x15;
const JUMP_GREATER: u16 = 0x25;
const JUMP_GREATER_EQUAL: u16 = 0x35;
const AND: u16 = 0x54;

// Offsets in struct seccomp_data.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const ARGUMENTS: u32 = 16;

/// A compiled filter.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Filter(Vec<(u16, u8, u8, u32)>);

impl Filter {
    /// Compiles a profile whose conditions are [`Profile::resolved`].
    pub fn compile(profile: &Profile) -> Result<Self> {
        let default = verdict(profile.default_action, profile.default_errno_ret);
        // Another architecture's numbers mean other calls: its programs are refused. So are x32's (bit 30).
        let mut code = vec![
            (LOAD, 0, 0, ARCHITECTURE),
            (JUMP_EQUAL, 1, 0, names::AUDIT_ARCHITECTURE),
            (RETURN, 0, 0, verdict(Action::Errno, Some(38))),
            (LOAD, 0, 0, NUMBER),
        ];
        if cfg!(target_arch = "x86_64") {
            code.push((JUMP_GREATER_EQUAL, 0, 1, 0x4000_0000));
            code.push((RETURN, 0, 0, verdict(Action::Errno, Some(38))));
        }
        for rule in &profile.syscalls {
            let verdict = verdict(rule.action, rule.errno_ret);
            for number in rule.names.iter().filter_map(|name| names::number(name)) {
                code.extend(block(number, &rule.args, verdict)?);
                if code.len() > MAX_INSTRUCTIONS {
                    let why = format!("it needs more than {MAX_INSTRUCTIONS} instructions; shorten it");
                    return Err(Error::refused("compile a seccomp profile", why));
                }
            }
        }
        code.push((RETURN, 0, 0, default));
        Ok(Self(code))
    }

    /// Applies the filter to the calling thread for good. Without `no_new_privs` this needs `CAP_SYS_ADMIN`.
    pub fn install(&self) -> Result<()> {
        let mut code: Vec<libc::sock_filter> =
            self.0.iter().map(|&(code, jt, jf, k)| libc::sock_filter { code, jt, jf, k }).collect();
        let length = u16::try_from(code.len())
            .map_err(|_| Error::refused("install a seccomp filter", "it is too long"))?;
        let program = libc::sock_fprog { len: length, filter: code.as_mut_ptr() };
        // SAFETY: `program` points to `length` instructions that live across the call; the kernel copies them.
        let done =
            unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
        if done == 0 {
            return Ok(());
        }
        Err(Error { what: "install a seccomp filter".into(), why: std::io::Error::last_os_error() })
    }

    /// What the program answers for a call: the kernel's evaluation, for tests.
    #[cfg(test)]
    pub(super) fn evaluate(&self, number: u32, args: [u64; 6]) -> u32 {
        let mut data = vec![number, names::AUDIT_ARCHITECTURE, 0, 0];
        for arg in args {
            data.extend([arg as u32, (arg >> 32) as u32]);
        }
        let (mut at, mut register) = (0, 0);
        loop {
            let (code, jt, jf, k) = self.0[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => register = data[k as usize / 4],
                AND => register &= k,
                JUMP_EQUAL => at += jump(register == k),
                JUMP_GREATER => at += jump(register > k),
                JUMP_GREATER_EQUAL => at += jump(register >= k),
                RETURN => return k,
                other => panic!("opcode {other:#x}"),
            }
        }
    }
}

fn verdict(action: Action, errno: Option<u16>) -> u32 {
    match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Errno => libc::SECCOMP_RET_ERRNO | u32::from(errno.unwrap_or(1).min(4095)),
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
    }
}

// One rule for one call. The accumulator holds the call's number on entry and must hold it on the way out.
fn block(number: u32, args: &[Argument], verdict: u32) -> Result<Vec<(u16, u8, u8, u32)>> {
    let mut body = Vec::new();
    for argument in args {
        body.extend(comparison(argument)?);
    }
    // A failed comparison jumps (as a placeholder, MISS) to the reload at the end of the block.
    body.push((RETURN, 0, 0, verdict));
    let end = body.len();
    for (at, instruction) in body.iter_mut().enumerate() {
        let miss = u8::try_from(end - at - 1)
            .map_err(|_| Error::refused("compile a seccomp profile", "a rule compares too many arguments"))?;
        for target in [&mut instruction.1, &mut instruction.2] {
            if *target == MISS {
                *target = miss;
            }
        }
    }
    if !args.is_empty() {
        body.push((LOAD, 0, 0, NUMBER));
    }
    let skip = u8::try_from(body.len())
        .map_err(|_| Error::refused("compile a seccomp profile", "a rule compares too many arguments"))?;
    let mut block = vec![(JUMP_EQUAL, 0, skip, number)];
    block.extend(body);
    Ok(block)
}

/// Stands for "this comparison failed"; no real jump is as long.
const MISS: u8 = u8::MAX;

// 64-bit comparisons from 32-bit ones: the high half decides unless equal. Falls through on success.
fn comparison(argument: &Argument) -> Result<Vec<(u16, u8, u8, u32)>> {
    if argument.index > 5 {
        let why = format!("argument index {} is not between 0 and 5", argument.index);
        return Err(Error::refused("compile a seccomp profile", why));
    }
    let low_at = ARGUMENTS + u32::from(argument.index) * 8;
    let high_at = low_at + 4;
    let halves = |value: u64| ((value >> 32) as u32, (value & 0xffff_ffff) as u32);
    let (high, low) = halves(argument.value);
    Ok(match argument.op {
        Operator::Equal => {
            vec![
                (LOAD, 0, 0, high_at),
                (JUMP_EQUAL, 0, MISS, high),
                (LOAD, 0, 0, low_at),
                (JUMP_EQUAL, 0, MISS, low),
            ]
        }
        Operator::NotEqual => {
            vec![
                (LOAD, 0, 0, high_at),
                (JUMP_EQUAL, 0, 2, high),
                (LOAD, 0, 0, low_at),
                (JUMP_EQUAL, MISS, 0, low),
            ]
        }
        Operator::MaskedEqual => {
            let (wanted_high, wanted_low) = halves(argument.value_two);
            vec![
                (LOAD, 0, 0, high_at),
                (AND, 0, 0, high),
                (JUMP_EQUAL, 0, MISS, wanted_high),
                (LOAD, 0, 0, low_at),
                (AND, 0, 0, low),
                (JUMP_EQUAL, 0, MISS, wanted_low),
            ]
        }
        Operator::Greater | Operator::GreaterOrEqual => {
            let jump = if argument.op == Operator::Greater { JUMP_GREATER } else { JUMP_GREATER_EQUAL };
            vec![
                (LOAD, 0, 0, high_at),
                (JUMP_GREATER, 3, 0, high),
                (JUMP_EQUAL, 0, MISS, high),
                (LOAD, 0, 0, low_at),
                (jump, 0, MISS, low),
            ]
        }
        Operator::Less | Operator::LessOrEqual => {
            let jump = if argument.op == Operator::Less { JUMP_GREATER_EQUAL } else { JUMP_GREATER };
            vec![
                (LOAD, 0, 0, high_at),
                (JUMP_GREATER, MISS, 0, high),
                (JUMP_EQUAL, 0, 2, high),
                (LOAD, 0, 0, low_at),
                (jump, MISS, 0, low),
            ]
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::Rule;

    const READ: u32 = libc::SYS_read as u32;
    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const DENY: u32 = libc::SECCOMP_RET_ERRNO | 1;

    fn read_when(op: Operator, value: u64, value_two: u64) -> Filter {
        let rule = Rule {
            names: vec!["read".into(), "no_such_call".into()],
            action: Action::Allow,
            errno_ret: None,
            args: vec![Argument { index: 2, value, value_two, op }],
            includes: Default::default(),
            excludes: Default::default(),
        };
        let profile =
            Profile { default_action: Action::Errno, default_errno_ret: None, syscalls: vec![rule] };
        Filter::compile(&profile).unwrap()
    }

    #[test]
    fn comparisons_are_unsigned_and_64_bit() {
        let edges = [0, 1, 5, 0xffff_ffff, 1 << 32, (1 << 32) + 5, (5 << 32) | 4, u64::MAX];
        for value in edges {
            for argument in edges {
                let cases = [
                    (Operator::Equal, argument == value),
                    (Operator::NotEqual, argument != value),
                    (Operator::Less, argument < value),
                    (Operator::LessOrEqual, argument <= value),
                    (Operator::Greater, argument > value),
                    (Operator::GreaterOrEqual, argument >= value),
                    (Operator::MaskedEqual, argument & value == 5),
                ];
                for (op, matches) in cases {
                    let filter = read_when(op, value, 5);
                    let answer = filter.evaluate(READ, [9, 9, argument, 9, 9, 9]);
                    let wanted = if matches { ALLOW } else { DENY };
                    assert_eq!(answer, wanted, "{argument:#x} {op:?} {value:#x}");
                    assert_eq!(filter.evaluate(READ + 1, [argument; 6]), DENY);
                }
            }
        }
    }

    #[test]
    fn default_profile_keeps_dangerous_calls_out() {
        let with = |caps: &[&str]| {
            let held = crate::capability::Set::of(caps.iter().copied()).unwrap();
            Filter::compile(&super::super::default_profile().resolved(held)).unwrap()
        };
        let plain = with(&["CHOWN"]);
        let number = |name: &str| names::number(name).unwrap();
        for name in ["read", "execve", "openat", "futex", "epoll_wait", "clock_gettime", "statx"] {
            assert_eq!(plain.evaluate(number(name), [0; 6]), ALLOW, "{name}");
        }
        for name in ["mount", "reboot", "kexec_load", "bpf", "setns", "init_module"] {
            assert_eq!(plain.evaluate(number(name), [0; 6]), DENY, "{name}");
        }
        // Threads yes, new namespaces no; clone3 is "not there" so that libraries fall back to clone.
        assert_eq!(plain.evaluate(number("clone"), [0x3d0f00, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(plain.evaluate(number("clone"), [0x1000_0000, 0, 0, 0, 0, 0]), DENY);
        assert_eq!(plain.evaluate(number("clone3"), [0; 6]), libc::SECCOMP_RET_ERRNO | 38);
        assert_eq!(plain.evaluate(number("socket"), [1, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(plain.evaluate(number("socket"), [40, 0, 0, 0, 0, 0]), DENY);
        assert_eq!(with(&["SYS_ADMIN"]).evaluate(number("mount"), [0; 6]), ALLOW);
    }
}
