//! How near is each program to what the verifier allows?
//!
//! The kernel counts the instructions that it walks through and says how many they were. Of the stack it says nothing
//! but in its log, which aya hands out for failures only; so the frames are read off the loaded instructions here, as
//! the kernel's `check_max_stack_depth` adds them up.

use aya::EbpfLoader;
use aya::programs::{Program, ProgramInfo};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _};

/// Well below the kernel's limit of 1,000,000, for kernels that look longer.
const INSTRUCTIONS_MAX: u32 = 500_000;
/// Bytes of stack of a chain of calls; the kernel's limit is 512.
const STACK_MAX: u32 = 400;
/// What a frame is rounded up to: as before Linux 6.9, which counts a compiled one in units of 16.
const FRAME_UNIT: u32 = 32;
/// Programs in the object.
const PROGRAMS: usize = 17;

pub fn no_program_is_near_its_limits() {
    let mut object = EbpfLoader::new().load(netd::kernel::datapath::OBJECT).expect("loaded");
    let mut failed = Vec::new();
    let programs: BTreeMap<&str, &mut Program> = object.programs_mut().collect();
    assert_eq!(programs.len(), PROGRAMS);
    for (name, program) in programs {
        let (result, info) = match program {
            Program::SchedClassifier(program) => (program.load(), program.info()),
            Program::CgroupSockAddr(program) => (program.load(), program.info()),
            Program::Xdp(program) => (program.load(), program.info()),
            other => panic!("{name} is {:?}", other.prog_type()),
        };
        result.unwrap_or_else(|error| panic!("{name}: {error}"));
        let info = info.expect("a loaded program");
        let verified = info.verified_instruction_count().expect("Linux 5.16");
        let loaded = Loaded::read(&info).unwrap_or_else(|error| panic!("{name}: {error}"));
        let (chain, functions) = (loaded.deepest(), loaded.functions());
        let frames = chain.starts.iter().map(|start| format!("{} {}", loaded.name(*start), functions[start].frame));
        println!(
            "{name}: {verified} instructions verified, {} bytes of machine code; stack: {} bytes ({})",
            info.size_jitted(),
            chain.depth,
            frames.collect::<Vec<_>>().join(", "),
        );
        if verified > INSTRUCTIONS_MAX {
            failed.push(format!("{name}: {verified} instructions"));
        }
        if chain.depth > STACK_MAX {
            failed.push(format!("{name}: {} bytes of stack", chain.depth));
        }
    }
    assert!(failed.is_empty(), "{failed:#?}: at most {INSTRUCTIONS_MAX} instructions and {STACK_MAX} bytes of stack");
}

/// The instructions of a program, as the kernel rewrote them.
struct Loaded {
    instructions: Vec<Instruction>,
    /// The names of its functions, in the order of where they start; none when the kernel does not tell.
    names: Vec<String>,
}

/// `struct bpf_insn`.
#[derive(Clone, Copy)]
struct Instruction {
    code: u8,
    destination: u8,
    source: u8,
    offset: i16,
    immediate: i32,
}

/// A function, by the instruction that it starts with.
#[derive(Default)]
struct Function {
    /// Bytes of its stack frame.
    frame: u32,
    /// The functions that it calls, itself or by way of a helper.
    calls: BTreeSet<usize>,
}

#[derive(Default)]
struct Chain {
    /// With each frame rounded up.
    depth: u32,
    starts: Vec<usize>,
}

// Of the instruction set (RFC 9669).
const CLASS: u8 = 0x07;
const CLASS_LDX: u8 = 1;
const CLASS_ST: u8 = 2;
const CLASS_STX: u8 = 3;
const MOVE: u8 = 0xbf;
const ADD: u8 = 0x07;
const CALL: u8 = 0x85;
const LOAD_WIDE: u8 = 0x18;
const FRAME_POINTER: u8 = 10;
/// Marks of a call or an address, in its source register: of a function of this program.
const PSEUDO_CALL: u8 = 1;
const PSEUDO_FUNCTION: u8 = 4;
/// How the kernel begins what it writes for a call of `bpf_loop`: it looks whether the turns are at most as many.
const IS_AT_MOST: u8 = 0xb5;
const LOOP_TURNS_MAX: i32 = 1 << 23;
/// What that code keeps on the stack, below the function's own and not counted by the verifier, in bytes.
const LOOP_SPILLS: u32 = 24;

impl Loaded {
    fn read(program: &ProgramInfo) -> io::Result<Self> {
        let fd = program.fd().map_err(io::Error::other)?;
        let fd = fd.as_fd().as_raw_fd();
        let mut info = Info::default();
        info.get(fd)?;
        let mut words = vec![0_u64; info.xlated_len as usize / size_of::<u64>()];
        let mut symbols = vec![0_u64; info.jited_symbols_count as usize];
        info = Info {
            xlated_len: info.xlated_len,
            xlated: words.as_mut_ptr() as u64,
            jited_symbols_count: info.jited_symbols_count,
            jited_symbols: symbols.as_mut_ptr() as u64,
            ..Info::default()
        };
        info.get(fd)?;
        let instructions = words.into_iter().map(Instruction::from).collect();
        Ok(Self { instructions, names: names(&symbols)? })
    }

    /// What an instruction calls, or hands to a helper to be called.
    fn callee(&self, at: usize) -> Option<usize> {
        let Instruction { code, source, offset, immediate, .. } = self.instructions[at];
        // The compiler has put an index where the distance was, and the distance aside.
        let distance = match (code, source) {
            (CALL, PSEUDO_CALL) if offset != 0 => i64::from(offset),
            (CALL, PSEUDO_CALL) | (LOAD_WIDE, PSEUDO_FUNCTION) => i64::from(immediate),
            _ => return None,
        };
        usize::try_from(at as i64 + 1 + distance).ok()
    }

    /// By where they start.
    fn functions(&self) -> BTreeMap<usize, Function> {
        let indexes = || 0..self.instructions.len();
        let mut functions = BTreeMap::from([(0, Function::default())]);
        functions.extend(indexes().filter_map(|at| self.callee(at)).map(|start| (start, Function::default())));
        let starts: Vec<usize> = functions.keys().copied().collect();
        for (start, function) in &mut functions {
            let end = starts.iter().copied().find(|next| next > start).unwrap_or(self.instructions.len());
            function.calls = (*start..end).filter_map(|at| self.callee(at)).collect();
            function.frame = frame(&self.instructions[*start..end]);
        }
        functions
    }

    fn deepest(&self) -> Chain {
        deepest(&self.functions(), 0)
    }

    fn name(&self, start: usize) -> &str {
        let index = self.functions().keys().position(|of| *of == start);
        index.and_then(|index| self.names.get(index)).map_or("?", String::as_str)
    }
}

/// The deepest chain of calls from a function on. The verifier lets no function call itself.
fn deepest(functions: &BTreeMap<usize, Function>, start: usize) -> Chain {
    let Function { frame, calls } = &functions[&start];
    let mut chain = calls.iter().map(|callee| deepest(functions, *callee)).max_by_key(|chain| chain.depth);
    let chain = chain.get_or_insert_default();
    let starts = [start].into_iter().chain(chain.starts.iter().copied()).collect();
    Chain { depth: chain.depth + (*frame).max(1).next_multiple_of(FRAME_UNIT), starts }
}

/// Bytes of a function's stack frame: down to the lowest place that it reads, writes or points to.
fn frame(instructions: &[Instruction]) -> u32 {
    let mut lowest = 0;
    let mut has_loop = false;
    // Where registers point to, from the frame pointer.
    let mut pointers: [Option<i32>; 16] = [None; 16];
    for Instruction { code, destination, source, offset, immediate } in instructions.iter().copied() {
        pointers[usize::from(FRAME_POINTER)] = Some(0);
        let base = match code & CLASS {
            CLASS_LDX => source,
            CLASS_ST | CLASS_STX => destination,
            _ => 0,
        };
        if let Some(pointer) = pointers[usize::from(base)].filter(|_| base != 0) {
            lowest = lowest.min(pointer + i32::from(offset));
        }
        has_loop |= code == IS_AT_MOST && immediate == LOOP_TURNS_MAX;
        match code {
            MOVE => pointers[usize::from(destination)] = pointers[usize::from(source)],
            ADD => {
                let pointer = &mut pointers[usize::from(destination)];
                *pointer = pointer.map(|pointer| pointer + immediate);
                lowest = lowest.min(pointer.unwrap_or_default());
            }
            _ if !matches!(code & CLASS, CLASS_ST | CLASS_STX) => pointers[usize::from(destination)] = None,
            _ => {}
        }
    }
    let frame = lowest.unsigned_abs().next_multiple_of(8);
    if has_loop { frame.saturating_sub(LOOP_SPILLS) } else { frame }
}

impl From<u64> for Instruction {
    fn from(word: u64) -> Self {
        let [code, registers, c, d, e, f, g, h] = word.to_le_bytes();
        Self {
            code,
            destination: registers & 0x0f,
            source: registers >> 4,
            offset: i16::from_le_bytes([c, d]),
            immediate: i32::from_le_bytes([e, f, g, h]),
        }
    }
}

/// The start of `struct bpf_prog_info`, up to the last field that is read here.
#[repr(C)]
#[derive(Default)]
struct Info {
    before: [u32; 4],
    jited_len: u32,
    xlated_len: u32,
    jited: u64,
    xlated: u64,
    between: [u64; 8],
    jited_symbols_count: u32,
    jited_lens_count: u32,
    jited_symbols: u64,
}

/// The `info` member of `union bpf_attr`.
#[repr(C)]
struct InfoAttr {
    fd: u32,
    len: u32,
    info: u64,
}

const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;

impl Info {
    fn get(&mut self, fd: i32) -> io::Result<()> {
        let attr = InfoAttr { fd: fd as u32, len: size_of::<Self>() as u32, info: std::ptr::from_mut(self) as u64 };
        // SAFETY: `attr` is the `info` member of `union bpf_attr` and its size is given; what it points to is valid for the
        // sizes beside it for the time of the call.
        let result = unsafe {
            libc::syscall(libc::SYS_bpf, BPF_OBJ_GET_INFO_BY_FD, std::ptr::from_ref(&attr), size_of::<InfoAttr>())
        };
        if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }
}

/// The names of compiled functions, by their addresses.
fn names(addresses: &[u64]) -> io::Result<Vec<String>> {
    let symbols = std::fs::read_to_string("/proc/kallsyms")?;
    let by_address: BTreeMap<u64, &str> = symbols
        .lines()
        .filter(|line| line.contains("bpf_prog_"))
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some((u64::from_str_radix(words.next()?, 16).ok()?, words.nth(1)?))
        })
        .collect();
    Ok(addresses.iter().map(|address| by_address.get(address).map_or("?", |name| readable(name)).to_owned()).collect())
}

/// `bpf_prog_TAG_NAME_OF_TYPES` without the tag and the types.
fn readable(symbol: &str) -> &str {
    let name =
        symbol.strip_prefix("bpf_prog_").and_then(|rest| rest.split_once('_')).map_or(symbol, |(_tag, name)| name);
    // Of a generic function: `<`, as the kernel writes it.
    name.split("_3C_").next().unwrap_or(name)
}
