"""The command ``maxent-ray dashboard``: the results page on its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maxent_ray.cli.options import option
from maxent_ray.dashboard.addresses import DEFAULT_PORT, LOOPBACK, browser_url, is_loopback, listen, url_of
from maxent_ray.errors import ConfigError

if TYPE_CHECKING:
    from maxent_ray.dashboard.access import TokenSource

PANEL = "Page"
EPILOG = """Examples:

maxent-ray dashboard

maxent-ray dashboard results/first --no-open

maxent-ray dashboard --host 0.0.0.0 --token-file my-token

maxent-ray dashboard --install-grafana"""


def dashboard(
    results: Annotated[
        Path, typer.Argument(metavar="[RESULTS]", help="Folder of results folders, or one of them.")
    ] = Path("results"),
    host: Annotated[
        str,
        typer.Option(
            metavar="HOST",
            rich_help_panel=PANEL,
            help="Host to listen on; beyond this machine a token is asked for.",
        ),
    ] = LOOPBACK,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, rich_help_panel=PANEL, help="Port, or the next free one.")
    ] = DEFAULT_PORT,
    token_file: Annotated[
        Path | None,
        option(
            "--token-file",
            panel=PANEL,
            metavar="FILE",
            help="File with the token to ask for. Default: on other hosts than this machine Ray's, else none.",
        ),
    ] = None,
    open_browser: Annotated[
        bool | None,
        typer.Option(
            "--open/--no-open",
            rich_help_panel=PANEL,
            show_default=False,
            help="Open it in a browser. Default: if the command runs in a terminal.",
        ),
    ] = None,
    for_ray: Annotated[
        bool,
        typer.Option(
            "--for-ray",
            rich_help_panel=PANEL,
            help="Print the variables that have `ray start --head` show the page in the dashboard's Metrics tab.",
        ),
    ] = False,
    install_grafana: Annotated[
        bool,
        typer.Option(
            "--install-grafana",
            rich_help_panel="Grafana",
            help="Put a dashboard of the exported metrics where the Grafana of this machine's Ray finds it, and end.",
        ),
    ] = False,
) -> None:
    """Show results in a browser, live while runs train: curves, decisions, alarms, clones, tables, answers.

    Reads the records of train, compare and sweep, also those of results copied from another machine. The page of a
    cluster that a command starts is in the Ray dashboard already, in its Metrics tab. Ctrl-C ends it.
    """
    from maxent_ray.dashboard.server import PageOptions, serve
    from maxent_ray.dashboard.stand_in import variables
    from maxent_ray.report.output import make_console

    if install_grafana:
        from maxent_ray.dashboard.grafana.install import install_and_describe

        for line in install_and_describe():
            make_console().print(line, highlight=False, markup=False, soft_wrap=True)
        return
    if not results.exists() and not for_ray:
        raise ConfigError(f"RESULTS is '{results}', which does not exist; give a folder of results, such as results")
    options = PageOptions(results, host, token_source(host, token_file))
    listener = listen(host, port)
    taken = int(listener.getsockname()[1])
    url, console = url_of(host, taken), make_console()

    def ready() -> None:
        if port not in (0, taken):
            console.print(f"Port {port} is taken; this is the next free one.", highlight=False)
        console.print(f"Results page: {url} (Ctrl-C ends it)", highlight=False, soft_wrap=True)
        if options.token is not None:
            console.print("It asks for a token.", highlight=False)
        if for_ray:
            console.print("Before `ray start --head`, in the same shell:", highlight=False)
            for name, value in variables(url, browser_url(host, taken)).items():
                console.print(f"export {name}={value}", highlight=False, soft_wrap=True)
        wanted = console.file.isatty() and not for_ray if open_browser is None else open_browser
        if wanted and not show_in_browser(url):
            console.print("No browser can be opened here: open that address yourself.", highlight=False)

    try:
        serve(options, listener, ready)
    except KeyboardInterrupt:
        return


def token_source(host: str, file: Path | None) -> TokenSource | None:
    """Token that the page asks for: of a file, else on other hosts than this machine Ray's; None for none.

    Raises:
        ConfigError: there is none where one is needed.
    """
    from maxent_ray.dashboard.ray_token import TOKEN_FILE, user_token

    if file is not None:
        token = _first_line(file)
        return lambda: token
    if is_loopback(host):
        return None
    if not user_token():
        raise ConfigError(
            f"--host is {host!r}, and there is no token: whoever reaches that address could read the results. Put a "
            f"secret into a file and name it with --token-file, or have Ray make one in {TOKEN_FILE} with "
            "`ray get-auth-token --generate`"
        )
    return user_token


def show_in_browser(url: str) -> bool:
    """Open an address in a browser with windows; False where there is none."""
    import os
    import sys
    import webbrowser

    if sys.platform == "linux" and not any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY")):
        return False  # webbrowser would take a text browser, which would take the terminal
    return webbrowser.open(url)


def _first_line(file: Path) -> str:
    try:
        token = file.read_text(encoding="utf-8").partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--token-file is '{file}', which cannot be read ({error}); give a file with a token"
        ) from None
    if not token:
        raise ConfigError(f"--token-file is '{file}', and its first line is empty; put the token there")
    return token
