# keep.sh TREE PACKAGE FILE: the installed files as a package again, because dpkg does not keep the one it was made from.
set -e
rm -rf "$1"
mkdir -p "$1/DEBIAN"
# Folders first: /lib is a link where the system has merged it into /usr, and is a folder of the package all the same, which
# has no links to folders.
dpkg-query -L "$2" | while read -r file; do
    if [ -d "$file" ]; then
        mkdir -p "$1$file"
    elif [ -L "$file" ] || [ -f "$file" ]; then
        cp -a --parents "$file" -t "$1"
    fi
done
dpkg-query -s "$2" | sed -e '/^Status:/d' -e '/^Conffiles:/,/^[^ ]/{/^Conffiles:/d;/^ /d}' > "$1/DEBIAN/control"
for script in preinst postinst prerm postrm; do
    info="/var/lib/dpkg/info/$2.$script"
    if [ -f "$info" ]; then
        cp -a "$info" "$1/DEBIAN/$script"
    fi
done
# A configuration file that somebody changed stays out: dpkg would take the change for what the package brought, and the next
# upgrade would replace it without a word. One that nobody changed comes back with the version that can read it.
dpkg-query -W -f '${Conffiles}\n' "$2" | while read -r file sum mark; do
    if [ -z "$file" ]; then
        continue
    elif [ -z "$mark" ] && [ -f "$file" ] && [ "$(md5sum < "$file")" = "$sum  -" ]; then
        echo "$file" >> "$1/DEBIAN/conffiles"
    else
        rm -f "$1$file"
    fi
done
dpkg-deb --root-owner-group -b "$1" "$3" > /dev/null
rm -rf "$1"
