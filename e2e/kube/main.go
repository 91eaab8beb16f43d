// Command ebbtide-lab-kube holds a Kubernetes control plane in one binary; the
// first argument chooses the component:
//
//	ebbtide-lab-kube etcd|kube-apiserver|kube-controller-manager|kube-scheduler [flags]
//
// The lab (e2e/lab) builds it from Go modules and starts one process for each
// component. A component lives as long as its standard input is open: when the
// lab's process ends, however it ends, the kernel closes the pipe and every
// component goes with it.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: ebbtide-lab-kube COMPONENT [flags]")
		os.Exit(2)
	}
	component := os.Args[1]
	os.Args = append([]string{component}, os.Args[2:]...)

	commands := map[string]func() *cobra.Command{
		"kube-apiserver":          apiserver.NewAPIServerCommand,
		"kube-controller-manager": controllers.NewControllerManagerCommand,
		"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	}
	command, known := commands[component]
	if !known && component != "etcd" {
		fmt.Fprintf(os.Stderr, "unknown component %q\n", component)
		os.Exit(2)
	}
	// Not before a wrong call was answered: whoever makes one may have no input open.
	go exitWithParent(os.Stdin)
	if known {
		os.Exit(cli.Run(command()))
	}
	etcdmain.Main(os.Args)
}

// exitWithParent ends the process at once when stdin reaches its end. A
// component has nothing to save: its lab is gone.
func exitWithParent(stdin io.Reader) {
	_, _ = io.Copy(io.Discard, stdin)
	os.Exit(1)
}
