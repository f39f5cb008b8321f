//! Which real servers answer in the demo?

use super::world::{OUTSIDE_ADDRESS, World};
use crate::run;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

pub const OUTSIDE_PORT: u16 = 8000;

/// What a server says to a client at this address.
pub fn greeting(server: &str, client: &str) -> String {
    format!("{}{client}\n", greeting_start(server))
}

pub fn greeting_start(server: &str) -> String {
    format!("hello from {server}, you are ")
}

/// nginx in the container `web`, or Python's server where there is no nginx; returns its access log.
pub fn start_web(world: &mut World) -> Result<PathBuf> {
    let log = world.path("access.log");
    let ready = world.path("web.pid");
    if run::find("nginx").is_some() {
        let conf = world.path("nginx.conf");
        fs::write(&conf, nginx_conf(world)).context("writing nginx.conf")?;
        let [conf, prefix] = [conf, world.path("")].map(|path| path.to_string_lossy().into_owned());
        let words = ["netctl", "exec", "web", "--", "nginx", "-p", &prefix, "-c", &conf];
        world.spawn("web.log", words).map(drop)?;
    } else {
        println!("    nginx is absent; Python's server stands in for it");
        spawn_python(world, "web", &["netctl", "exec", "web", "--"], "0.0.0.0", 80)?;
    }
    world.wait_for("the web server", Duration::from_secs(5), || Ok(ready.exists()))?;
    Ok(log)
}

/// A server on the outside that tells each client how it sees it.
pub fn start_outside(world: &mut World) -> Result<()> {
    let ready = world.path("outside.pid");
    spawn_python(world, "outside", &["outside"], OUTSIDE_ADDRESS, OUTSIDE_PORT)?;
    world.wait_for("the outside server", Duration::from_secs(5), || Ok(ready.exists()))
}

fn nginx_conf(world: &World) -> String {
    let dir = world.path("").to_string_lossy().trim_end_matches('/').to_owned();
    let greeting = greeting_start("web");
    format!(
        r#"daemon off;
user root;
worker_processes 1;
pid {dir}/web.pid;
error_log {dir}/web.log;
events {{ worker_connections 256; }}
http {{
    log_format plain '$remote_addr "$request" $status';
    access_log {dir}/access.log plain;
    client_body_temp_path {dir}/nginx-body;
    proxy_temp_path {dir}/nginx-proxy;
    fastcgi_temp_path {dir}/nginx-fastcgi;
    uwsgi_temp_path {dir}/nginx-uwsgi;
    scgi_temp_path {dir}/nginx-scgi;
    server {{
        listen 80;
        default_type text/plain;
        location / {{ return 200 "{greeting}$remote_addr\n"; }}
    }}
}}
"#
    )
}

/// Arguments: name, address, port, access log, a file that says it is ready.
const PYTHON: &str = r#"
import http.server, os, sys
name, address, port, log, ready = sys.argv[1:]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"hello from {name}, you are {self.client_address[0]}\n".encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, format, *args):
        with open(log, "a") as file:
            file.write(f"{self.client_address[0]} {format % args}\n")
class Server(http.server.ThreadingHTTPServer):
    def server_bind(self):
        # Not HTTPServer's own, which asks the resolver for this host's name.
        self.socket.setsockopt(1, 2, 1)
        self.socket.bind(self.server_address)
        self.server_name, self.server_port = self.server_address
server = Server((address, int(port)), Handler)
with open(ready, "w") as file:
    file.write(str(os.getpid()))
server.serve_forever()
"#;

fn spawn_python(world: &mut World, name: &str, place: &[&str], address: &str, port: u16) -> Result<()> {
    let script = world.path("server.py");
    fs::write(&script, PYTHON).context("writing server.py")?;
    // The access log is what the story looks at; the outside's is only for the curious.
    let log = if name == "web" { "access.log".to_owned() } else { format!("{name}-access.log") };
    let files = [script, world.path(&log), world.path(&format!("{name}.pid"))];
    let [script, log, ready] = files.map(|path| path.to_string_lossy().into_owned());
    // Not a version manager's stand-in, which takes a second to start.
    let python = if run::find("/usr/bin/python3").is_some() { "/usr/bin/python3" } else { "python3" };
    let port = port.to_string();
    let mut words = place.to_vec();
    words.extend([python, &script, name, address, &port, &log, &ready]);
    world.spawn(&format!("{name}.log"), words).map(drop)
}
