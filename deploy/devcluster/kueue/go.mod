// Kueue, built as upstream locked it: its dependencies are newer than the control plane's,
// so it stays a module of its own. Nothing imports this module.
module tiffin.dev/devcluster/kueue

go 1.26.0

require sigs.k8s.io/kueue v0.19.2
