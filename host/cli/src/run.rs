//! From arguments to an exit code.

use std::{
    ffi::OsString,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    args::{Arguments, Command},
    client::Client,
    commands,
    console::Console,
    demo,
    failure::{Failure, exit},
    machine,
};

/// Runs the command that `args` (the program's name first) ask for.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(args) {
        Ok(arguments) => arguments,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(exit::USAGE) } else { ExitCode::SUCCESS };
        }
    };
    match dispatch(arguments) {
        Ok(code) => code,
        Err(failure) if failure.is_closed_pipe() => ExitCode::SUCCESS,
        Err(failure) => {
            let mut err = io::stderr().lock();
            for line in failure.explain() {
                let _ = writeln!(err, "{line}");
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    let Arguments { connection, command } = arguments;
    let console = Console::new(connection.json);
    match command {
        Command::CompileComponent => return Ok(commands::compile_component()),
        Command::Serve(serve) => {
            machine::check_processor()?;
            machine::raise_open_files();
            machine::keep_freed_memory();
            commands::serve(&serve)?;
        }
        Command::Demo(demo) => block_on(demo::tell(console, demo))?,
        Command::Sql(sql) => block_on(commands::sql(console, Client::new(&connection)?, sql))?,
        Command::Ingest(ingest) => block_on(commands::ingest(console, Client::new(&connection)?, ingest))?,
        Command::Plugin(plugin) => block_on(commands::plugin(console, Client::new(&connection)?, plugin))?,
        Command::Index(index) => block_on(commands::index(console, Client::new(&connection)?, index))?,
        Command::Search(search) => block_on(commands::search(console, Client::new(&connection)?, search))?,
        Command::View(view) => block_on(commands::view(console, Client::new(&connection)?, view))?,
        Command::Profile(profile) => block_on(commands::profile(console, Client::new(&connection)?, profile))?,
        Command::Datasets => block_on(commands::datasets(console, Client::new(&connection)?))?,
        Command::Describe(describe) => block_on(commands::describe(console, Client::new(&connection)?, describe))?,
        Command::Compact(compact) => block_on(commands::compact(console, Client::new(&connection)?, compact))?,
        Command::Erase(erase) => block_on(commands::erase(console, Client::new(&connection)?, erase))?,
        Command::Certificates => block_on(commands::certificates(console, Client::new(&connection)?))?,
        Command::Queries(queries) => block_on(commands::queries(console, Client::new(&connection)?, queries))?,
        Command::Jobs(jobs) => block_on(commands::jobs(console, Client::new(&connection)?, jobs))?,
        Command::Journal(journal) => block_on(commands::journal(console, Client::new(&connection)?, journal))?,
        Command::Key(key) => block_on(commands::key(console, Client::new(&connection)?, key))?,
        Command::Grant(grant) => block_on(commands::grant(console, Client::new(&connection)?, grant))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A client needs one thread; the demo's many clients too, since they only wait and count.
fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Start(format!("cannot start: {error}")))?;
    runtime.block_on(Box::pin(work))
}
