# Copyright (c) 2026, the lunar.iscsi contributors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each stage of the test run consists of: python tools/stages.py STAGE."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
import sys
import typing as t
from pathlib import Path

import bootstrap
import pythons
from checks import BUILD, ROOT, Check, end_tidily_on_signals, need, run_all

BIN = ROOT / ".venv" / "bin"
RESULTS = ".cache/results"
#: shared by all checkouts of a user, as pip's cache is: what ansible-test installs for its sanity tests takes minutes
USER_CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lunar.iscsi"
#: scenarios on the second set of hosts
SECOND_HALF = ("failover",)
#: scenarios that only make test-all runs
LONG_SCENARIOS = ("boot", "drill", "gluster", "lvm")


def copy_collection(stage: str) -> Path:
    """A real copy of all that git tracks or would track: some tools refuse to follow the symbolic link. One a stage."""
    place = BUILD / "copies" / stage / "ansible_collections" / "lunar" / "iscsi"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        source, copy = ROOT / name, place / name
        if source.is_file() or source.is_symlink():  # a deleted file is still listed until the deletion is committed
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy, follow_symlinks=False)
    # a repository of its own, or the tools would ask the one around it, which ignores this folder
    subprocess.run(["git", "init", "--quiet", "--template=", "."], cwd=place, check=True)
    return place


def pytest(label: str, python: Path, paths: t.Sequence[str], *, path: t.Sequence[Path], env: t.Optional[t.Mapping[str, str]] = None,
           options: t.Sequence[str] = ()) -> Check:
    """A pytest run with its results in a file of its own."""
    junit = f"{RESULTS}/{label.replace(' ', '-')}.xml"
    return Check(label, [str(python), "-m", "pytest", "-c", "pyproject.toml", "-o", f"cache_dir=.cache/pytest/{label.replace(' ', '-')}",
                         f"--junitxml={junit}", *options, *paths],
                 env=dict({"PYTHONPATH": ":".join(map(str, path)), "ANSIBLE_COLLECTIONS_PATH": str(bootstrap.COLLECTIONS),
                           "ANSIBLE_HOME": str(ROOT / ".cache/ansible")}, **(env or {})), junit=junit)


def unit(*, every: bool = False) -> t.List[Check]:
    """All unit tests with the controller's Python; those of what is shipped with the Pythons of managed hosts too."""
    need(["tests/unit/**/test_*.py", "tests/unit/plugins/module_utils/test_*.py"], "unit")
    checks = [pytest("controller", BIN / "python", ["tests/unit"], path=[BUILD])]
    shipped = [path for path in ("tests/unit/plugins/module_utils", "tests/unit/plugins/modules") if any((ROOT / path).glob("**/test_*.py"))]
    with bootstrap.locked():
        offered = bootstrap.setup_targets(every=every)
        ansible = bootstrap.module_utils_of_ansible()
    for python in offered:
        checks.append(pytest(f"target py{python.version}", ROOT / f".venv-py{python.version}" / "bin" / "python", shipped, path=[BUILD, ansible]))
    return checks


def unit_all() -> t.List[Check]:
    """The unit tests with every Python from 3.8 up that the machine offers."""
    return unit(every=True)


def lint() -> t.List[Check]:
    """ansible-lint with the production profile, mypy --strict, ruff, yamllint."""
    copy = copy_collection("lint")
    root = copy.parent.parent.parent
    packages = [f"ansible_collections/lunar/iscsi/{path}" for path in ("plugins", "tests/unit", "tests/integration", "tests/e2e", "tools", "lab", "bench")
                if any((ROOT / path).glob("**/*.py"))]
    config = str(copy / "pyproject.toml")
    collections = {"ANSIBLE_COLLECTIONS_PATH": str(root), "ANSIBLE_HOME": str(ROOT / ".cache/ansible")}
    return [
        Check("ruff", [str(BIN / "ruff"), "check", "--output-format", "concise", "--config", "pyproject.toml", "--cache-dir", ".cache/ruff", "."]),
        Check("mypy --strict", [str(BIN / "mypy"), "--config-file", config, "--cache-dir", str(ROOT / ".cache/mypy"), *packages],
              env={"MYPYPATH": f"{root}:{copy / 'tools'}:{copy / 'lab'}:{copy / 'bench'}"}, cwd=root),
        Check("yamllint", [str(BIN / "yamllint"), "--strict", "--config-file", ".yamllint", "."], cwd=copy),
        Check("ansible-lint", [str(BIN / "ansible-lint"), "--nocolor", "--offline", "--profile", "production", "--strict", "--config-file", ".ansible-lint"],
              env=collections, cwd=copy),
        Check("changelog", [str(BIN / "antsibull-changelog"), "lint"], env=collections, cwd=copy),
    ]


def docs_lint() -> t.List[Check]:
    """The documentation of plugins and roles, as antsibull-docs reads it."""
    copy = copy_collection("docs")
    return [Check("antsibull-docs", [str(BIN / "antsibull-docs"), "lint-collection-docs", "--plugin-docs", "--validate-collection-refs", "dependent",
                                     "--disallow-unknown-collection-refs", "."],
                  env={"ANSIBLE_COLLECTIONS_PATH": str(copy.parent.parent.parent), "ANSIBLE_HOME": str(ROOT / ".cache/ansible")}, cwd=copy)]


def sanity() -> t.List[Check]:
    """ansible-test sanity, all tests; compile and import with every Python that the machine and ansible-test both have."""
    copy = copy_collection("sanity")
    home = USER_CACHE / "ansible-test"
    seed_pip(home)
    on_path = BUILD / "pythons"
    shutil.rmtree(on_path, ignore_errors=True)
    on_path.mkdir(parents=True)
    for python in pythons.targets():
        (on_path / f"python{python.version}").symlink_to(python.path)
    junit = str((copy / "tests" / "output" / "junit" / "*.xml").relative_to(ROOT))
    path = f"{BIN}:{on_path}:{os.environ.get('PATH', os.defpath)}"
    return [Check("ansible-test", [str(BIN / "ansible-test"), "sanity", "--junit", "--color", "no"], env={"HOME": str(home), "PATH": path},
                  cwd=copy, junit=junit, errors="^(ERROR|FATAL)")]


def seed_pip(home: Path) -> None:
    """ansible-test bootstraps pip with a script it downloads; put our own (it uses ensurepip) where it looks first.

    Its home is a folder of ours, so nothing of the user's is touched; the user's settings for pip are carried over.
    """
    cache = home / ".ansible" / "test" / "cache"
    cache.mkdir(parents=True, exist_ok=True)
    source = next((ROOT / ".venv" / "lib").glob("python3.*/site-packages/ansible_test/_internal/python_requirements.py")).read_text("utf-8")
    for version in sorted(set(re.findall(r"\bpip='([0-9.]+)'", source))):
        shutil.copy(ROOT / "tools" / "get_pip.py", cache / f"get_pip_{version.replace('.', '_')}.py")
    settings = configparser.RawConfigParser(strict=False)
    settings.read([Path.home() / ".pip" / "pip.conf", Path.home() / ".config" / "pip" / "pip.conf"], "utf-8")
    if not settings.has_section("global"):
        settings.add_section("global")
    for key, value in os.environ.items():
        if key.startswith("PIP_") and value:
            settings.set("global", key[4:].lower().replace("_", "-"), value)
    config = home / ".config" / "pip" / "pip.conf"
    config.parent.mkdir(parents=True, exist_ok=True)
    config.touch(mode=0o600)  # may hold the credentials of a private index
    with config.open("w", encoding="utf-8") as out:
        settings.write(out)


def integration() -> t.List[Check]:
    """The modules against a real tgtd on loopback."""
    need(["tests/integration/**/test_*.py"], "integration")
    if os.geteuid() != 0:
        sys.exit("The integration tests start a tgtd and write /etc/iscsi of this machine, so they need root: sudo make integration")
    return [pytest("loopback", BIN / "python", ["tests/integration"], path=[BUILD])]


def dist_test() -> t.List[Check]:
    """Build the collection, install the tarball elsewhere, and read the documentation of every module from there."""
    copy = copy_collection("dist")
    dist, place = BUILD / "dist", BUILD / "installed"
    for old in (dist, place):
        shutil.rmtree(old, ignore_errors=True)
    version = re.search(r"^version: (\S+)$", (ROOT / "galaxy.yml").read_text("utf-8"), re.MULTILINE)
    tarball = dist / f"lunar-iscsi-{version.group(1) if version else 'unknown'}.tar.gz"
    env = {"ANSIBLE_COLLECTIONS_PATH": str(place), "ANSIBLE_HOME": str(ROOT / ".cache/ansible")}
    checks = [
        Check("build", [str(BIN / "ansible-galaxy"), "collection", "build", "--output-path", str(dist), str(copy)], env=env),
        Check("install", [str(BIN / "ansible-galaxy"), "collection", "install", "--offline", "--pre", "-p", str(place), str(tarball)], env=env),
        Check("nothing odd inside", [sys.executable, str(ROOT / "tools" / "tarball.py"), str(tarball)]),
    ]
    for module in sorted((ROOT / "plugins" / "modules").glob("[a-z]*.py")):
        checks.append(Check(f"ansible-doc {module.stem}", [str(BIN / "ansible-doc"), "--type", "module", f"lunar.iscsi.{module.stem}"], env=env, cwd=BUILD))
    return checks


def scenarios(lane: str, *names: str, last: bool = True, label: str = "scenarios") -> Check:
    """Scenarios of molecule on one set of hosts, whose name is the lane's; ``last`` takes the hosts down at the end, if they are not to stay."""
    need([f"extensions/molecule/{name}/molecule.yml" for name in names], f"e2e-{lane}")
    results = ROOT / RESULTS / f"e2e-{os.environ.get('LAB_DISTRIBUTION') or 'bookworm'}-{lane}"
    results.mkdir(parents=True, exist_ok=True)
    home = ROOT / ".cache" / f"ansible-{lane}"  # where molecule remembers which hosts are there, so one for each lane
    # a run that was killed leaves word of hosts that are there no more
    for left in home.glob("tmp/molecule.*"):
        shutil.rmtree(left, ignore_errors=True)
    # every task of what a scenario does and verifies is a test; those that create, prepare and destroy hosts are not
    return Check(label, [str(BIN / "molecule"), "test", "--report", *(f"--scenario-name={name}" for name in names)], cwd=ROOT, timeout=7200.0,
                 env={"ANSIBLE_COLLECTIONS_PATH": str(BUILD), "ANSIBLE_HOME": str(home), "ANSIBLE_PIPELINING": "1", "NO_COLOR": "1",
                      "ANSIBLE_CALLBACKS_ENABLED": "ansible.builtin.junit", "JUNIT_OUTPUT_DIR": str(results), "JUNIT_HIDE_TASK_ARGUMENTS": "true",
                      "JUNIT_INCLUDE_SETUP_TASKS_IN_REPORT": "false", **({} if last else {"LAB_KEEP": "1"})},
                 junit=str(results.relative_to(ROOT) / "[!dp]*.xml"))


def hosts(label: str, *options: str) -> Check:
    """Tests that drive hosts of the lab from pytest."""
    return pytest(label, BIN / "python", ["tests/e2e"], path=[BUILD], options=["-p", "pytest_ansible.plugin", "--ansible-unit-inject-only", *options],
                  env={"ANSIBLE_PIPELINING": "1", "NO_COLOR": "1"})


def e2e_one() -> t.List[Check]:
    """Half of the scenarios, and the examples of the roles; the halves run side by side, each on hosts of its own."""
    everything = {path.parent.name for path in (ROOT / "extensions/molecule").glob("*/molecule.yml")} - {"default", *SECOND_HALF, *LONG_SCENARIOS}
    return [scenarios("one", *sorted(everything), last=False), hosts("examples of roles", "-k", "roles/")]


def e2e_two() -> t.List[Check]:
    """The second half, and the other tests that drive the hosts from pytest."""
    return [scenarios("two", *SECOND_HALF, last=False), hosts("hosts", "-k", "not roles/")]


def e2e_long() -> t.List[Check]:
    """What takes a quarter of an hour and more, alone on the machine since it measures."""
    chosen = os.environ.get("LONG")
    if chosen and chosen not in LONG_SCENARIOS:
        sys.exit(f"LONG={chosen}: there is no long scenario of this name; they are {', '.join(LONG_SCENARIOS)}")
    return [scenarios(name, name, label=name) for name in ([chosen] if chosen else LONG_SCENARIOS)]


STAGES: t.Mapping[str, t.Callable[[], t.List[Check]]] = {
    "unit": unit, "unit-all": unit_all, "lint": lint, "docs-lint": docs_lint, "sanity": sanity, "integration": integration, "dist-test": dist_test,
    "e2e-one": e2e_one, "e2e-two": e2e_two, "e2e-long": e2e_long,
}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in STAGES:
        sys.exit(f"usage: python tools/stages.py STAGE, where STAGE is one of {', '.join(STAGES)}")
    (ROOT / RESULTS).mkdir(parents=True, exist_ok=True)
    end_tidily_on_signals()
    try:
        sys.exit(run_all(sys.argv[1], STAGES[sys.argv[1]]()))
    except KeyboardInterrupt:
        sys.exit(130)
