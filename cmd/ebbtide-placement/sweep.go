package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/ebbtide/ebbtide/cmd/internal/process"
	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/placement/admission"
	"github.com/ebbtide/ebbtide/placement/sweep"
)

const sweepUsage = `ebbtide-placement sweep takes back what drains have left on nodes and pods whose agent will not: the cordon, taint, label
and annotation of a node, and the hand-overs of its pods. Only what Ebbtide itself did is taken back.

Usage:
  ebbtide-placement sweep [flags]

By hand, to see what is left in the cluster of a kubeconfig, and to take it back:

  ebbtide-placement sweep --kubeconfig ~/.kube/config --dry-run
  ebbtide-placement sweep --kubeconfig ~/.kube/config

Flags:
  --all              nodes whose deadline is still to come too, and the admission policy of the mode AdmissionPolicy: for
                     the day on which Ebbtide goes. The chart's uninstall hook does this
  --dry-run          say what is left, and change nothing
  --kubeconfig FILE  how to reach the API server (default: the pod's service account)
  --config FILE      the configuration of ebbtide-placement, for the name of its admission policy
  --admission-policy NAME
                     that name, where there is no configuration any more (default: ebbtide-placement)
  --help             print this page, and end

Exit code: 0 when nothing is left, or would be, 1 when that could not be done, 2 for a mistake in the flags or the
configuration.
`

const sweepName = "ebbtide-placement sweep"

// sweeping is what the command line of sweep asks for.
type sweeping struct {
	all, dryRun bool
	config      Config
}

// sweepUp takes back what is left and returns the exit code. It writes a line for each
// node to stdout.
func sweepUp(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	tell := func(err error) { _, _ = fmt.Fprintf(stderr, "%s: %v\n", sweepName, err) }
	s, err := readSweeping(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, sweepUsage)
		return exitDecided
	case err != nil:
		tell(err)
		return exitMisused
	}
	if err := s.run(ctx, stdout); err != nil {
		tell(err)
		return exitUndecided
	}
	return exitDecided
}

func readSweeping(args []string) (sweeping, error) {
	s := sweeping{config: Default()}
	var config, kubeconfig, policy string
	set := flag.NewFlagSet(sweepName, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.BoolVar(&s.all, "all", false, "")
	set.BoolVar(&s.dryRun, "dry-run", false, "")
	set.StringVar(&kubeconfig, "kubeconfig", "", "")
	set.StringVar(&config, "config", "", "")
	set.StringVar(&policy, "admission-policy", "", "")
	if err := set.Parse(args); err != nil {
		return s, err
	}
	if set.NArg() > 0 {
		return s, fmt.Errorf("%q is not a flag, and nothing after it was read", set.Arg(0))
	}
	if config != "" {
		var err error
		if s.config, err = Load(config); err != nil {
			return s, err
		}
	}
	if kubeconfig != "" {
		s.config.Kubeconfig = kubeconfig
	}
	if policy != "" {
		s.config.AdmissionPolicy.Name = policy
	}
	return s, nil
}

// run takes back what is left on every node, and says of all what went wrong.
func (s sweeping) run(ctx context.Context, stdout io.Writer) error {
	access, err := process.Access(s.config.Kubeconfig)
	if err != nil {
		return err
	}
	client, err := kubernetes.NewForConfig(access)
	if err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	nodes, err := leftBehind(ctx, client)
	if err != nil {
		return err
	}
	undoer := sweep.Undoer{Config: access, Client: client}
	names := slices.Sorted(maps.Keys(nodes))
	lines, errs := make([]string, len(names)), make([]error, len(names)+1)
	var group errgroup.Group
	group.SetLimit(sweep.AtOnce)
	for i, name := range names {
		group.Go(func() error {
			lines[i], errs[i] = s.node(ctx, undoer, nodes[name])
			return nil
		})
	}
	_ = group.Wait() // what went wrong is in errs
	for _, line := range lines {
		if line != "" {
			_, _ = fmt.Fprintln(stdout, line)
		}
	}
	if s.all && !s.dryRun {
		errs[len(names)] = s.withdraw(ctx, access)
	}
	if len(names) == 0 {
		_, _ = fmt.Fprintln(stdout, "Nothing is left of any drain.")
	}
	return errors.Join(errs...)
}

// leftBehind asks the API server what drains have left.
func leftBehind(ctx context.Context, client kubernetes.Interface) (map[string]sweep.Leftover, error) {
	nodes, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing the nodes: %w", err)
	}
	pods, err := client.CoreV1().Pods(metav1.NamespaceAll).List(ctx, metav1.ListOptions{LabelSelector: drain.HandedOverKey})
	if err != nil {
		return nil, fmt.Errorf("listing the pods that are handed over: %w", err)
	}
	return sweep.Find(pointers(nodes.Items), pointers(pods.Items)), nil
}

func pointers[T any](items []T) []*T {
	all := make([]*T, 0, len(items))
	for i := range items {
		all = append(all, &items[i])
	}
	return all
}

// node takes back what is left on one node, and says what became of it.
func (s sweeping) node(ctx context.Context, undoer sweep.Undoer, left sweep.Leftover) (line string, err error) {
	switch {
	case left.Err != nil:
		return "", left.Err
	case left.State != nil && !s.may(*left.State):
		return fmt.Sprintf("%s\tleft as it is: its deadline is %s", left.Name, left.State.Deadline.Format(time.RFC3339)), nil
	case s.dryRun:
		return fmt.Sprintf("%s\twould be taken back: %s", left.Name, left), nil
	}
	outcome, err := undoer.Undo(ctx, left, s.may)
	switch {
	case err != nil:
		return "", err
	case outcome == sweep.Changed:
		return left.Name + "\tleft as it is: somebody has changed it meanwhile", nil
	}
	return fmt.Sprintf("%s\ttaken back: %s", left.Name, left), nil
}

// may says whether a state is one to take back. It is asked again of what the node carries
// when its turn comes: with many nodes that is minutes after they were listed, and another
// interruption may have begun.
func (s sweeping) may(state drain.State) bool { return s.all || !time.Now().Before(state.Deadline) }

// withdraw takes away what the mode AdmissionPolicy has put in force.
func (s sweeping) withdraw(ctx context.Context, access *rest.Config) error {
	keeper, err := admission.New(access, admission.Options{
		// Nothing is tried out, so that the namespace of the samples makes no difference.
		Name: s.config.AdmissionPolicy.Name, Namespace: metav1.NamespaceDefault,
	})
	if err != nil {
		return err
	}
	return keeper.Withdraw(ctx)
}
