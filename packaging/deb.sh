#!/bin/sh
# Builds dist/distd_VERSION_ARCH.deb: the program with its environment, for machines with the same Python as this one.
set -eu

cd "$(dirname "$0")/.."
command -v dpkg-deb > /dev/null || { echo "make deb needs dpkg-deb: build on Debian or Ubuntu" >&2; exit 1; }
version=$("$PYTHON" -c 'import tomllib; print(tomllib.load(open("pyproject.toml", "rb"))["project"]["version"])')
python=$("$PYTHON" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
arch=$(dpkg --print-architecture)
root=build/deb
rm -rf "$root"

PREFIX=/opt/distd BINDIR=/usr/bin DESTDIR=$PWD/$root PYTHON=$PYTHON sh packaging/install.sh
# What the package depends on is where its interpreter is.
ln -sf "/usr/bin/$python" "$root/opt/distd/venv/bin/python3"
ln -sf python3 "$root/opt/distd/venv/bin/python"
ln -sf python3 "$root/opt/distd/venv/bin/$python"
sed -i "s|^home = .*|home = /usr/bin|; s|^executable = .*|executable = /usr/bin/$python|; /^command = /d" \
    "$root/opt/distd/venv/pyvenv.cfg"

mkdir "$root/DEBIAN"
size_kib=$(du -k -s "$root" | cut -f1)
cat > "$root/DEBIAN/control" <<END
Package: distd
Version: $version
Architecture: $arch
Maintainer: the distd authors <distd@localhost>
Installed-Size: $size_kib
Depends: $python, systemd, ca-certificates
Section: net
Priority: optional
Description: model weights for a fleet of GPU servers
 A daemon that brings models from the Hugging Face Hub into an ordinary
 Hugging Face cache. Daemons that know each other share what they fetch, and
 nothing becomes visible whose hash was not checked.
 .
 The package carries its Python environment below /opt/distd.
END
echo /etc/distd/config.toml > "$root/DEBIAN/conffiles"
for script in postinst prerm postrm; do
    install -m 755 "packaging/$script" "$root/DEBIAN/$script"
done

mkdir -p dist
dpkg-deb --root-owner-group -Zxz --build "$root" "dist/distd_${version}_$arch.deb"
