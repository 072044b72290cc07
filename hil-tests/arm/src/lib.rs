//! Trials of what ships: the packages in a chroot of their own, and the cross-built program on an emulated ARM machine.
