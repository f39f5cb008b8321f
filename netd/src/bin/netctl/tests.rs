//! Is a command line understood as the contract says?

use super::*;

fn parse(line: &str) -> Result<Line, clap::Error> {
    Line::try_parse_from(std::iter::once("netctl").chain(line.split_whitespace()))
}

#[test]
fn the_command_line_is_consistent() {
    Line::command().debug_assert();
}

#[test]
fn what_the_contract_names_is_understood() {
    let lines = [
        "apply -f net.toml",
        "apply --file - --dry-run --prune -o json",
        "container create web",
        "container create web --network lan --network host --ip 10.0.0.2 --ip6 fd00::2 --mac 02:00:00:00:00:01",
        "container create web --alias www --hostname h --netns /run/netns/x -p 8080:80 --publish 53:53/udp --dns 10.0.0.1 --label a=b=c",
        "container rm a b",
        "container ls",
        "container inspect a b -o json",
        "container prune",
        "exec web -- ip addr",
        "publish web [::]:8080:80 [2001:db8::1]::80/udp",
        "publish web 8080:80 127.0.0.1:8000-8010:9000-9010/udp :80 0:80",
        "unpublish web 8080:80",
        "unpublish web --all",
        "port ls",
        "port ls web",
        "network create lan --driver bridge --subnet 10.1.0.0/24 --gateway 10.1.0.1 --ip-range 10.1.0.128/25 --aux-address r=10.1.0.9",
        "network create lan --ipv6 --subnet 10.1.0.0/24 --subnet fd10::/64 --gateway fd10::1 --ip-range fd10::/80",
        "network create lan --internal --no-icc --no-masquerade --mtu 1400 --label k=v --opt k=v",
        "network ls -q",
        "network inspect bridge",
        "network rm lan",
        "flow ls",
        "flow ls web",
        "block 10.0.0.0/8 203.0.113.7 2001:db8::/32",
        "block --file list",
        "block 10.0.0.0/8 --file -",
        "block ls",
        "block ls -q",
        "unblock 10.0.0.0/8",
        "unblock --file -",
        "unblock --all",
        "publish web 80:80 81:81 --allow 10.0.0.0/8 --allow 2001:db8::1",
        "stats",
        "stats web",
        "events",
        "events --follow",
        "status --socket /tmp/s --timeout 5 -o json",
        "--socket /tmp/s status",
        "version",
        "completions bash",
    ];
    for line in lines {
        if let Err(error) = parse(line) {
            panic!("{line}: {error}");
        }
    }
}

#[test]
fn what_cannot_be_meant_is_a_usage_error() {
    let lines = [
        "",
        "container",
        "apply",
        "container create",
        "container rm",
        "container create web --ip 10.0.0",
        "container create web --mac 02:00",
        "container create web --label novalue",
        "exec web",
        "publish web",
        "publish web 8080:",
        "publish web 80:80/icmp",
        "publish web 8000-8010:80-81",
        "unpublish web",
        "unpublish web 80:80 --all",
        "network create lan --driver overlay",
        "status -o yaml",
        "status --timeout 0",
        "block",
        "block 10.0.0.1/8",
        "block ls 10.0.0.0/8",
        "unblock",
        "unblock ls",
        "unblock 10.0.0.0/8 --all",
        "publish web 80:80 --allow web",
    ];
    for line in lines {
        let Err(error) = parse(line) else { panic!("{line} was understood") };
        assert_eq!(error.exit_code(), 2, "{line}");
    }
}

#[test]
fn a_command_keeps_its_own_flags() {
    for line in ["exec web -- ls -o x --all", "exec web ls -o x --all"] {
        let Ok(Line { global, verb: Verb::Exec(exec) }) = parse(line) else { panic!("{line}") };
        assert_eq!(exec.words(), ["ls", "-o", "x", "--all"]);
        assert_eq!(global.output, Format::Table);
    }
}

#[test]
fn every_shell_has_completions() {
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Line::command(), "netctl", &mut script);
        assert!(String::from_utf8_lossy(&script).contains("unpublish"), "{shell}");
    }
}
