//! The real program, killed while it deploys many hosts: a seeded sample of instants. Alone on SQLite; and three at once on
//! PostgreSQL, which is itself ended and started again.
//!
//! In the test run few hosts and few kills; `make kill-test` sets `BESSEMER_KILL_HOSTS`, `BESSEMER_KILLS` and
//! `BESSEMER_KILL_SEED` for the long form. The checker reads only the hosts' log: who was destroyed what, and when.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bessemer_lab::{LabProcess, Span};
use bessemer_store::testing::{self, Ending, Restartable};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use tokio::task::JoinSet;

use crate::harness::{Api, Image, Life, Program, Site, Step, assert_clean_life, number};

const STEPS: [Step; 3] = [Step::Manage, Step::Provide, Step::Deploy];

/// More hosts than this are the long form.
const MANY: usize = 50;

/// One controller of several: a name, where it answers, and the process while there is one.
struct Member {
    file: PathBuf,
    url: String,
    program: Option<Program>,
}

impl Member {
    async fn start(&mut self) {
        self.program = Some(Program::start(&self.file, &self.url).await);
    }

    fn kill(&mut self) {
        if let Some(program) = self.program.take() {
            program.kill();
        }
    }
}

/// What is done, how often, and by which numbers.
struct Plan {
    hosts: usize,
    kills: u64,
    seed: u64,
    /// Longest time between a start and the next kill, milliseconds.
    longest: u64,
    /// One kill in so many leaves the controller away until others have taken its work; 0 = none.
    away_one_in: u32,
    /// One kill in so many is followed by an end of the database; 0 = none.
    database_one_in: u64,
}

impl Plan {
    fn is_long(&self) -> bool {
        self.hosts > MANY
    }

    fn lab(&self, site: &Site) -> LabProcess {
        let mut settings = site.lab_settings(self.hosts);
        // see the crash test
        settings.loss = 1e-12;
        settings.write_seconds = Span::millis(5_000, 40_000);
        site.lab(&settings)
    }

    /// Each host's life, asked of the controllers in turn.
    fn lives(&self, lab: &LabProcess, members: &[Member], image: &Image) -> JoinSet<()> {
        let mut lives = JoinSet::new();
        for (at, host) in lab.hosts.iter().cloned().enumerate() {
            let api = Api::new(&members[at % members.len()].url);
            let mut life = Life::new(api, host, image.clone(), &lab.log_path);
            life.patient = true;
            if self.is_long() {
                life.patience = Duration::from_secs(3600);
                life.poll = Duration::from_millis(500);
            }
            lives.spawn(async move {
                life.whole(&STEPS).await;
            });
        }
        lives
    }

    /// Kills one of the members again and again; how many kills came while work was going on.
    async fn kill(
        &self,
        members: &mut [Member],
        lives: &mut JoinSet<()>,
        mut database: Option<&mut Restartable>,
    ) -> u64 {
        let mut random = StdRng::seed_from_u64(self.seed);
        let began = Instant::now();
        let mut while_busy = 0;
        for kill in 0..self.kills {
            // from the first requests to the middle of the writes
            let instant = Duration::from_millis(random.random_range(100..self.longest));
            let victim = random.random_range(0..members.len());
            let away = self.away_one_in > 0 && random.random_ratio(1, self.away_one_in);
            let crash = random.random_ratio(1, 2);
            tokio::time::sleep(instant).await;
            members[victim].kill();
            while lives.try_join_next().is_some_and(|ended| {
                ended.unwrap();
                true
            }) {}
            while_busy += u64::from(!lives.is_empty());
            if let Some(database) = database.as_deref_mut()
                && self.database_one_in > 0
                && kill % self.database_one_in == self.database_one_in - 1
            {
                database
                    .restart(if crash { Ending::Crash } else { Ending::Fast })
                    .await;
            }
            if away {
                tokio::time::sleep(Duration::from_secs(12)).await;
            }
            members[victim].start().await;
            if self.is_long() && kill % 10 == 9 {
                println!(
                    "{} kills, {} hosts left, {:.0} s",
                    kill + 1,
                    lives.len(),
                    began.elapsed().as_secs_f64()
                );
            }
        }
        while_busy
    }

    /// Every host was written once and whole, and runs; and the service works on as if nothing had been.
    async fn judge(&self, mut lab: LabProcess, api: &Api, image: &Image, while_busy: u64) {
        assert!(
            while_busy >= self.kills / 2,
            "most kills came when all was done"
        );
        let all = lab.hosts.clone();
        let log = lab.log().unwrap();
        for host in &all {
            assert_clean_life(log, &host.name, image, &STEPS);
            assert!(log.powered(&host.name), "{} is off", host.name);
        }
        let active = api
            .get("/v1/nodes?provision_state=active&limit=1000")
            .await
            .ok();
        assert_eq!(active["nodes"].as_array().map(Vec::len), Some(self.hosts));
        api.provision("h3", json!({"target": "deleted"})).await;
        api.wait_for("h3", "available").await;
    }
}

const COMMON: [(&str, &str); 3] = [
    ("conductor", "max_concurrent_clean = 1000"),
    ("conductor", "max_concurrent_deploy = 1000"),
    ("conductor", "boot_sign_timeout = 60"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_many_deploys_lose_nothing() {
    let hosts = usize::try_from(number("BESSEMER_KILL_HOSTS", 10)).unwrap();
    let plan = Plan {
        hosts,
        kills: number("BESSEMER_KILLS", 6),
        seed: number("BESSEMER_KILL_SEED", 20_250_101),
        longest: if hosts > MANY { 4000 } else { 1500 },
        away_one_in: 0,
        database_one_in: 0,
    };
    let site = Site::of(plan.hosts).await;
    let image = site.images.small();
    let lab = plan.lab(&site);
    let mut members = [Member {
        file: site.settings_file("one", 1, &COMMON),
        url: site.url(1),
        program: None,
    }];
    members[0].start().await;
    let began = Instant::now();
    let mut lives = plan.lives(&lab, &members, &image);
    let while_busy = plan.kill(&mut members, &mut lives, None).await;
    lives.join_all().await;
    println!(
        "seed {}: {hosts} hosts deployed through {} kills of one controller on SQLite ({while_busy} while work was going on) in {:.0} s",
        plan.seed,
        plan.kills,
        began.elapsed().as_secs_f64()
    );
    plan.judge(lab, &Api::new(&members[0].url), &image, while_busy)
        .await;
    members[0].program.take().unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_of_one_of_three_and_of_their_database_lose_nothing() {
    let hosts = usize::try_from(number("BESSEMER_KILL_HOSTS", 5)).unwrap();
    let long = hosts > MANY;
    let plan = Plan {
        hosts,
        kills: number("BESSEMER_KILLS", 4),
        seed: number("BESSEMER_KILL_SEED", 20_250_101),
        longest: if long { 4000 } else { 1500 },
        away_one_in: if long { 12 } else { 0 },
        database_one_in: if long { 10 } else { 2 },
    };
    let mut server = testing::restartable().await;
    let connection = format!("connection = \"{}\"", server.database.settings.connection);
    let site = Site::of(plan.hosts).await;
    let image = site.images.small();
    let lab = plan.lab(&site);
    let mut more = COMMON.to_vec();
    more.push(("database", connection.as_str()));
    // Hosts ask the first for their boot; the work is any one's.
    let mut members: Vec<Member> = [("one", 1), ("two", 3), ("three", 4)]
        .into_iter()
        .map(|(name, last)| Member {
            file: site.settings_file(name, last, &more),
            url: site.url(last),
            program: None,
        })
        .collect();
    for member in &mut members {
        member.start().await;
    }
    let began = Instant::now();
    let mut lives = plan.lives(&lab, &members, &image);
    let while_busy = plan.kill(&mut members, &mut lives, Some(&mut server)).await;
    lives.join_all().await;
    println!(
        "seed {}: {hosts} hosts deployed through {} kills, one of three controllers at a time, and {} ends of PostgreSQL ({while_busy} while work was going on) in {:.0} s",
        plan.seed,
        plan.kills,
        plan.kills / plan.database_one_in,
        began.elapsed().as_secs_f64()
    );
    plan.judge(lab, &Api::new(&members[0].url), &image, while_busy)
        .await;
    for member in &mut members {
        member.program.take().unwrap().stop().await;
    }
}
