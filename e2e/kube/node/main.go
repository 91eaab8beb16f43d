//go:build linux

// Command ebbtide-lab-node holds what runs on every Kubernetes node in one binary;
// the first argument chooses the component:
//
//	ebbtide-lab-node kubelet|kube-proxy [flags]
//
// The real nodes of the end-to-end tests (e2e/nodes) run it. It is a binary of its
// own, beside the control plane's, because it builds on Linux only and weighs as much
// again: whoever runs the simulated nodes of e2e/lab never pays for it.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
	proxy "k8s.io/kubernetes/cmd/kube-proxy/app"
	kubelet "k8s.io/kubernetes/cmd/kubelet/app"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: ebbtide-lab-node COMPONENT [flags]")
		os.Exit(2)
	}
	component := os.Args[1]
	os.Args = append([]string{component}, os.Args[2:]...)

	commands := map[string]func() *cobra.Command{
		"kube-proxy": proxy.NewProxyCommand,
		"kubelet":    func() *cobra.Command { return kubelet.NewKubeletCommand(context.Background()) },
	}
	command, known := commands[component]
	if !known {
		fmt.Fprintf(os.Stderr, "unknown component %q\n", component)
		os.Exit(2)
	}
	os.Exit(cli.Run(command()))
}
