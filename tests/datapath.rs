//! throwaway
use aya::programs::Program;
#[test]
fn loads() {
    let mut o = aya::EbpfLoader::new().map_max_entries("FLOWS", 1024).load(netd::kernel::datapath::OBJECT).unwrap();
    for (name, p) in o.programs_mut() {
        let r = match p {
            Program::SchedClassifier(p) => p.load(),
            Program::CgroupSockAddr(p) => p.load(),
            _ => continue,
        };
        if let Err(e) = r {
            let aya::programs::ProgramError::LoadError { io_error, verifier_log } = &e else { panic!("{e}") };
            let log = verifier_log.to_string();
            let l: Vec<_> = log.lines().collect();
            println!("{name}: {io_error}: {}\n{}", l.len(), l[l.len().saturating_sub(60)..].join("\n"));
        } else {
            let i = p.info().unwrap();
            println!("{name}: verified {:?} jited {}", i.verified_instruction_count(), i.size_jitted());
        }
    }
}
