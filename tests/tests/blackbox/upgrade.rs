//! A new process takes the place of the running one: no request fails, and
//! whatever goes wrong, the running one goes on.

use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use knoxcall_tests::{
    Config, Gateway, Http2Client, Over, Process, RawClient, Request, Upstream, eventually,
    free_port, full, pause,
};
use serde_json::json;

/// An upstream that takes its time, as long answers do.
const SLOW: Duration = Duration::from_millis(400);

fn slow_upstream() -> Upstream {
    Upstream::scripted(|session| {
        while session.request()?.is_some() {
            pause(SLOW);
            session.answer("in its time")?;
        }
        Ok(())
    })
}

/// A route to each of two upstreams.
fn config(fast: &Upstream, slow: &Upstream) -> Config {
    Config::new(fast.address()).route(json!({
        "name": "Slow",
        "slug": "slow",
        "target_base_url": slow.url(),
    }))
}

fn taken_over(process: &mut Process) {
    eventually("the successor to serve", || {
        if let Some(status) = process.exited() {
            panic!("it ended with {status}:\n{}", process.stderr());
        }
        process.stderr().contains("taken over").then_some(())
    });
}

pub(crate) fn upgrade(gateway: &Gateway, config: &Config) -> Process {
    upgrade_of(gateway, || gateway.log(), config)
}

/// `log`: of the process that is to leave.
fn upgrade_of(gateway: &Gateway, log: impl Fn() -> String, config: &Config) -> Process {
    let mut successor = gateway.spawn_successor(config, &["--upgrade"]);
    taken_over(&mut successor);
    // Until it knows, a new connection may be the old process's: served as well.
    eventually("the old process to leave the sockets", || {
        let left = "no more connections are accepted";
        log().contains(left).then_some(())
    });
    successor
}

/// Asks until told to end; every answer must be the upstream's. Says how many.
fn ask_over_http1(address: SocketAddr, request: &Request, done: &AtomicBool) -> usize {
    let mut served = 0;
    while !done.load(Ordering::Relaxed) {
        let mut client = RawClient::connect(address);
        loop {
            client.send(request.bytes());
            let response = client.read();
            response.assert_served();
            served += 1;
            if !response.keeps_alive() || done.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    served
}

fn ask_over_http2(address: SocketAddr, request: &Request, done: &AtomicBool) -> usize {
    let mut served = 0;
    while !done.load(Ordering::Relaxed) {
        let client = Http2Client::connect(address);
        while !done.load(Ordering::Relaxed)
            && let Some(response) = client.try_send(request)
        {
            assert_eq!(response.status, 200, "{}", response.text());
            served += 1;
        }
    }
    served
}

/// Runs `change` under every kind of load; says how many were served by each.
fn under_load(address: SocketAddr, change: impl FnOnce()) -> [usize; 3] {
    let done = AtomicBool::new(false);
    let done = &done;
    let (fast, slow) = (Request::get("/"), Request::get("/").route("slow"));
    let (fast, slow) = (&fast, &slow);
    std::thread::scope(|scope| {
        let mut loads = [const { Vec::new() }; 3];
        for _ in 0..3 {
            loads[0].push(scope.spawn(move || ask_over_http1(address, fast, done)));
            loads[1].push(scope.spawn(move || ask_over_http1(address, slow, done)));
        }
        for request in [fast, slow] {
            loads[2].push(scope.spawn(move || ask_over_http2(address, request, done)));
        }
        let over = Over(done);
        pause(Duration::from_millis(200));
        change();
        pause(Duration::from_millis(200));
        drop(over);
        loads.map(|load| load.into_iter().map(|asks| asks.join().unwrap()).sum())
    })
}

#[test]
fn no_request_fails_under_load() {
    let (fast, slow) = (Upstream::start(), slow_upstream());
    let config = config(&fast, &slow);
    let mut gateway = Gateway::start(&config);
    let mut successor = None;
    let served = under_load(gateway.address(), || {
        successor = Some(upgrade(&gateway, &config));
        let status = gateway.process().wait();
        assert!(status.success(), "{status}");
    });
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
    let total: usize = served.iter().sum();
    assert!(gateway.wait_for_records(total).len() >= total);
}

#[test]
fn many_upgrades_in_a_row_lose_nothing() {
    let rounds = if full() { 20 } else { 3 };
    let (fast, slow) = (Upstream::start(), slow_upstream());
    let config = config(&fast, &slow);
    let mut gateway = Gateway::start(&config);
    let mut successors: Vec<Process> = Vec::new();
    let served = under_load(gateway.address(), || {
        for _ in 0..rounds {
            let successor = upgrade(&gateway, &config);
            let before = match successors.last_mut() {
                None => gateway.process(),
                Some(before) => before,
            };
            assert!(before.wait().success());
            successors.push(successor);
            pause(Duration::from_millis(if full() { 500 } else { 50 }));
        }
    });
    assert!(served.iter().all(|count| *count > 0), "{served:?}");
}

#[test]
fn a_successor_may_wait_for_sigquit() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let mut successor = gateway.spawn_successor(&config, &["--upgrade=quit"]);
    eventually("the successor to wait", || {
        gateway
            .process()
            .stderr()
            .contains("waits for SIGQUIT")
            .then_some(())
    });
    gateway.get("/").assert_served();
    assert!(gateway.process().exited().is_none());
    gateway.signal("QUIT");
    taken_over(&mut successor);
    assert!(gateway.process().wait().success());
    gateway.get("/").assert_served();
}

#[test]
fn a_successor_that_has_gone_leaves_sigquit_refused() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let mut successor = gateway.spawn_successor(&config, &["--upgrade=quit"]);
    eventually("the successor to wait", || {
        let log = gateway.process().stderr();
        log.contains("waits for SIGQUIT").then_some(())
    });
    successor.signal("TERM");
    successor.wait();
    eventually("its end to be known", || {
        let log = gateway.process().stderr();
        log.contains("has gone").then_some(())
    });
    gateway.signal("QUIT");
    eventually("the refusal", || {
        let log = gateway.process().stderr();
        log.contains("SIGQUIT refused").then_some(())
    });
    gateway.get("/").assert_served();
}

#[test]
fn a_broken_configuration_takes_nothing_over() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    gateway.rewrite_text("routes: [");
    let mut successor = gateway.spawn_successor(&config, &["--upgrade"]);
    assert_eq!(successor.wait().code(), Some(2));
    gateway.get("/").assert_served();
    let log = gateway.process().stderr();
    assert!(!log.contains("handing over"), "{log}");
}

#[test]
fn what_fails_after_the_sockets_were_given_leaves_the_running_process() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    // An address that cannot be had, beside the one that is handed over.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let both = json!([
        {"address": gateway.address().to_string()},
        {"address": taken.local_addr().unwrap().to_string()},
    ]);
    gateway.rewrite(&config.clone().set("/listeners", both));
    let mut successor = gateway.spawn_successor(&config, &["--upgrade"]);
    assert_eq!(successor.wait().code(), Some(2));
    let told = successor.stderr();
    assert!(told.contains("cannot listen on"), "{told}");
    eventually("it to be told", || {
        let log = gateway.process().stderr();
        log.contains("not handed over, this process goes on")
            .then_some(())
    });
    for _ in 0..10 {
        gateway.get("/").assert_served();
    }
    gateway.rewrite(&config);
    let _successor = upgrade(&gateway, &config);
    assert!(gateway.process().wait().success(), "the next one may come");
}

#[test]
fn without_a_running_process_there_is_nothing_to_take_over() {
    let upstream = Upstream::start();
    let mut alone = Gateway::spawn(&Config::new(upstream.address()).argument("--upgrade"));
    assert_eq!(alone.process().wait().code(), Some(2));
    let told = alone.process().stderr();
    assert!(
        told.contains("nothing is taken over") && told.contains("upgrade.sock"),
        "{told}"
    );
    assert_eq!(
        told.lines().filter(|line| !line.starts_with('{')).count(),
        1,
        "{told}"
    );
}

#[test]
fn two_processes_do_not_wait_at_one_place() {
    let upstream = Upstream::start();
    let gateway = Gateway::start(&Config::new(upstream.address()));
    let place = gateway.upgrade_socket();
    let mut other = Gateway::spawn(
        &Config::new(upstream.address()).argument(&format!("--upgrade-socket={}", place.display())),
    );
    assert_eq!(other.process().wait().code(), Some(2));
    assert!(other.process().stderr().contains("another process"));
    assert!(place.exists());
    gateway.get("/").assert_served();
}

#[test]
fn the_successor_has_the_listeners_of_its_own_configuration() {
    let upstream = Upstream::start();
    let [more, less] =
        [free_port(), free_port()].map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let listeners = |other: SocketAddr| {
        let own = gateway.address().to_string();
        json!([{"address": own}, {"address": other.to_string()}])
    };
    gateway.rewrite(&config.clone().set("/listeners", listeners(less)));
    let mut first = upgrade(&gateway, &config);
    let ask = |address: SocketAddr| {
        let mut client = RawClient::connect(address);
        client.send(Request::get("/").bytes());
        client.read().assert_served();
    };
    ask(less);
    gateway.rewrite(&config.clone().set("/listeners", listeners(more)));
    let _second = upgrade_of(&gateway, || first.stderr(), &config);
    assert!(gateway.process().wait().success());
    assert!(first.wait().success());
    ask(more);
    ask(gateway.address());
    assert!(std::net::TcpStream::connect(less).is_err(), "it is closed");
}

/// More than the 32 that Pingora's own transfer carries.
#[test]
fn a_hundred_listeners_are_handed_over() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let ports: Vec<u16> = (0..100).map(|_| free_port()).collect();
    let listeners: Vec<_> = ports
        .iter()
        .map(|port| json!({"address": format!("127.0.0.1:{port}")}))
        .collect();
    let config = config.set("/listeners", json!(listeners));
    let mut gateway = Gateway::start_on(&config, ports[0]);
    let _successor = upgrade(&gateway, &config);
    assert!(gateway.process().wait().success());
    for port in ports {
        let mut client = RawClient::connect(([127, 0, 0, 1], port).into());
        client.send(Request::get("/").bytes());
        client.read().assert_served();
    }
}

#[test]
fn an_idle_connection_is_served_once_more_and_health_stays() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let [mut idle, mut probe] = [(); 2].map(|()| gateway.connect());
    idle.send(Request::get("/").bytes());
    idle.read().assert_served();
    let health = Request::bare("GET", "/healthz").host("probe.invalid");
    probe.send(health.bytes());
    assert_eq!(probe.read().status, 200);

    let _successor = upgrade(&gateway, &config);
    // Longer than a stopping process waits for idle connections.
    pause(Duration::from_millis(1500));
    assert!(gateway.process().exited().is_none());
    probe.send(health.bytes());
    let answer = probe.read();
    assert_eq!(answer.status, 200, "traffic may go on coming");
    assert!(!answer.keeps_alive());
    idle.send(Request::get("/").bytes());
    let last = idle.read();
    last.assert_served();
    assert!(!last.keeps_alive());
    assert!(gateway.process().wait().success());
    assert!(gateway.upgrade_socket().exists(), "it is the successor's");
}

#[test]
fn a_process_that_stops_leaves_no_socket() {
    let upstream = Upstream::start();
    let config = Config::new(upstream.address());
    let mut gateway = Gateway::start(&config);
    let mut successor = upgrade(&gateway, &config);
    assert!(gateway.process().wait().success());
    successor.signal("TERM");
    assert!(successor.wait().success());
    assert!(!gateway.upgrade_socket().exists());
}

#[test]
fn systemd_is_told_who_serves() {
    let upstream = Upstream::start();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let supervisor = UnixDatagram::bind(&path).unwrap();
    supervisor
        .set_read_timeout(Some(knoxcall_tests::DEADLINE))
        .unwrap();
    let told = || {
        let mut text = [0; 128];
        let length = supervisor.recv(&mut text).unwrap();
        String::from_utf8_lossy(&text[..length]).into_owned()
    };
    let config = Config::new(upstream.address()).env("NOTIFY_SOCKET", path.to_str().unwrap());
    let mut gateway = Gateway::start(&config);
    let ready = |process: &Process| format!("READY=1\nMAINPID={}\n", process.id());
    assert_eq!(told(), ready(gateway.process()));
    let mut successor = gateway.spawn_successor(&config, &["--upgrade"]);
    assert_eq!(told(), ready(&successor));
    taken_over(&mut successor);
}
