#!/bin/sh
# Takes out what install.sh put in. The cache (/var/lib/distd), the configuration (/etc/distd) and the user stay.
set -eu

if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
    systemctl disable --now distd.socket distd.service || true
fi
rm -rf "$DESTDIR$PREFIX/venv" "$DESTDIR/usr/share/doc/distd"
rmdir "$DESTDIR$PREFIX" 2>/dev/null || true
rm -f "$DESTDIR$BINDIR/distd" "$DESTDIR$BINDIR/distctl" \
    "$DESTDIR/usr/lib/systemd/system/distd.service" "$DESTDIR/usr/lib/systemd/system/distd.socket" \
    "$DESTDIR/usr/lib/sysusers.d/distd.conf" "$DESTDIR/usr/lib/tmpfiles.d/distd.conf" \
    "$DESTDIR/usr/share/bash-completion/completions/distctl" \
    "$DESTDIR/usr/share/zsh/vendor-completions/_distctl" \
    "$DESTDIR/usr/share/fish/vendor_completions.d/distctl.fish"
if [ -z "$DESTDIR" ] && [ -d /run/systemd/system ]; then
    systemctl daemon-reload
fi
echo "removed; $DESTDIR/var/lib/distd and $DESTDIR/etc/distd stay"
