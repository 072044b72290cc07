#!/bin/sh
# Makes the font files of this folder anew, on Debian: the packages named below are fetched, not installed.
# Needs: apt-get, dpkg-deb, python3 with fontTools (pip install fonttools==4.60.1). Usage: fonts/make.sh
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
apt-get download unifont fonts-roboto-unhinted fonts-droid-fallback
for package in *.deb; do dpkg-deb -x "$package" .; done

# GB 2312 by rows: 1 to 9 are signs, 16 to 55 the 3,755 commonest characters, 56 to 87 the 3,008 others.
python3 - <<'EOF'
def rows(*wanted):
    text = []
    for row in wanted:
        for cell in range(1, 95):
            try:
                text.append(bytes([0xA0 + row, 0xA0 + cell]).decode("gb2312"))
            except UnicodeDecodeError:
                pass
    return text
latin = [chr(c) for c in [*range(0x20, 0x7F), *range(0xA0, 0x180), 0x20AC, 0x2116, 0x2122, 0x2212]]
latin += [chr(c) for c in [*range(0x2010, 0x2027), *range(0x2190, 0x2194)]]
signs, common, other = rows(*range(1, 10)), rows(*range(16, 56)), rows(*range(56, 88))
fullwidth = [chr(c) for c in range(0xFF01, 0xFF5F)] + ["\uFFE5"]
open("latin.txt", "w").write("".join(latin))
open("common.txt", "w").write("".join(rows(1, 3) + fullwidth + common))
wanted = {ord(c) for c in latin + signs + fullwidth + common + other}
with open("usr/share/unifont/unifont.hex") as source, open("unifont.hex", "w") as out:
    out.writelines(line for line in source if int(line.split(":")[0], 16) in wanted)
EOF

drop=GSUB,GPOS,GDEF,vhea,vmtx,name,post,OS/2,gasp
subset() { pyftsubset "$1" --text-file="$2" --no-hinting --layout-features= --drop-tables+=$drop --output-file="$3"; }
roboto=usr/share/fonts/truetype/roboto/unhinted
find "$roboto" -name 'RobotoCondensed-*.ttf' -exec cp {} . \;
subset RobotoCondensed-Regular.ttf latin.txt "$here/roboto-condensed-regular.ttf"
subset RobotoCondensed-Bold.ttf latin.txt "$here/roboto-condensed-bold.ttf"
subset usr/share/fonts-droid-fallback/truetype/DroidSansFallback.ttf common.txt "$here/droid-sans-fallback.ttf"
cp unifont.hex "$here/unifont.hex"
