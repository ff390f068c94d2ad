#!/bin/sh
# Installs the program with an environment of its own, its unit and its configuration. Also upgrades: what an operator
# changed (configuration, drop-ins) and the cache stay. `make install` calls it; the variables are set there.
#
#   PREFIX   where the environment goes: PREFIX/venv
#   BINDIR   where `distd` and `distctl` are linked
#   DESTDIR  a root to install into, empty for this machine's
#   PYTHON   the interpreter that the environment is made from
set -eu

cd "$(dirname "$0")/.."
final=$PREFIX/venv
target=$DESTDIR$final
fresh=$target.new

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11) and "distd needs Python 3.11 or later: make install PYTHON=/path/to/python3.11")'
"$PYTHON" -c 'import ensurepip' 2>/dev/null || {
    echo "this Python cannot make environments: apt install python3-venv, or PYTHON=/path/to/another" >&2
    exit 1
}

# Aside and then renamed, so that there is always a whole environment in place.
rm -rf "$fresh"
mkdir -p "$DESTDIR$PREFIX"
"$PYTHON" -m venv "$fresh"
pip="$fresh/bin/python -m pip --quiet --disable-pip-version-check --no-input"
$pip install --require-hashes -r requirements/distd.lock
$pip install --no-deps .
$pip uninstall --yes pip setuptools 2>/dev/null
# An environment holds its own path: in the first line of its programs, and in its note of how it was made.
find "$fresh/bin" -type f -exec grep -Il "^#!$fresh/" {} + | xargs sed -i "1s|^#!$fresh/|#!$final/|"
sed -i "s|$fresh|$final|g" "$fresh/pyvenv.cfg"
rm -f "$fresh"/bin/activate* "$fresh"/bin/Activate*
rm -rf "$target.old"
[ ! -e "$target" ] || mv "$target" "$target.old"
mv "$fresh" "$target"
rm -rf "$target.old"

install -d "$DESTDIR$BINDIR"
ln -sf "$final/bin/distd" "$final/bin/distctl" "$DESTDIR$BINDIR/"

install -d "$DESTDIR/usr/lib/systemd/system" "$DESTDIR/usr/lib/sysusers.d" "$DESTDIR/usr/lib/tmpfiles.d"
sed "s|/opt/distd/venv|$final|" systemd/distd.service > "$DESTDIR/usr/lib/systemd/system/distd.service"
chmod 644 "$DESTDIR/usr/lib/systemd/system/distd.service"
install -m 644 systemd/distd.socket "$DESTDIR/usr/lib/systemd/system/distd.socket"
install -m 644 systemd/distd.sysusers "$DESTDIR/usr/lib/sysusers.d/distd.conf"
install -m 644 systemd/distd.tmpfiles "$DESTDIR/usr/lib/tmpfiles.d/distd.conf"

install -d "$DESTDIR/usr/share/doc/distd/examples" "$DESTDIR/etc/distd"
install -m 644 README.md CHANGELOG.md LICENSE docs/*.md "$DESTDIR/usr/share/doc/distd/"
install -m 644 config.toml systemd/examples/*.conf "$DESTDIR/usr/share/doc/distd/examples/"
[ -e "$DESTDIR/etc/distd/config.toml" ] || install -m 644 config.toml "$DESTDIR/etc/distd/config.toml"

install -d "$DESTDIR/usr/share/bash-completion/completions" "$DESTDIR/usr/share/zsh/vendor-completions" \
    "$DESTDIR/usr/share/fish/vendor_completions.d"
# By the interpreter that made it: the link inside the environment may lead to one of another machine.
complete() { PYTHONPATH=$(echo "$target"/lib/python3*/site-packages) "$PYTHON" -m distd.cli completion "$1"; }
complete bash > "$DESTDIR/usr/share/bash-completion/completions/distctl"
complete zsh > "$DESTDIR/usr/share/zsh/vendor-completions/_distctl"
complete fish > "$DESTDIR/usr/share/fish/vendor_completions.d/distctl.fish"

# The rest is for a machine that runs, not for a root that is packed.
[ -z "$DESTDIR" ] || exit 0
systemd-sysusers distd.conf
systemd-tmpfiles --create distd.conf
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl try-restart distd.service
    echo "installed. Start it, now and at each boot: systemctl enable --now distd"
fi
