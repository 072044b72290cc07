# First program of the rig's machine, after lines that set TRIAL, FOLDER, PROGRAMS and PYTHON.
# The root is the host's, read-only; whatever is written goes to memory, or to the trial's own folder at /run/trial.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
exec </dev/null >/dev/console 2>&1
mkdir -p /dev/pts /dev/shm
mount -t devpts devpts /dev/pts
for folder in /dev/shm /run /tmp /var/tmp /var/lib/bluetooth; do
    mount -t tmpfs tmpfs "$folder"
done
chmod 1777 /dev/shm /tmp /var/tmp
# A checkout or cache below one of those is hidden now; the host still has it.
for folder in "$PROGRAMS" "${PYTHON%/bin/*}"; do
    [ -z "$folder" ] || [ -d "$folder" ] || { mkdir -p "$folder" && mount -t hostfs -o "$folder" hostfs "$folder"; }
done
mkdir -p /run/trial /run/dbus /run/store
mount -t hostfs -o "$FOLDER" hostfs /run/trial
ip link set lo up
export TRIAL PYTHON PROGRAMS
cd /run/trial
"$PROGRAMS/kernel-guest" run "$TRIAL"
dmesg > /run/trial/kernel.log
sync
"$PROGRAMS/kernel-guest" off
