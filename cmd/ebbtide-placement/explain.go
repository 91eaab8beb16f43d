package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/ebbtide/ebbtide/placement"
)

const explainUsage = `ebbtide-placement explain says what placement would do with pods before they are created: the decision, its reason,
and the change as a diff. It asks, and changes nothing.

Usage:
  ebbtide-placement explain -f FILE [flags]
  ebbtide-placement explain KIND/NAME [flags]

By the policies, nodes and pods of the cluster that kubectl talks to:

  ebbtide-placement explain -f coredns.yaml
  ebbtide-placement explain -n kube-system deployment/coredns

Without a cluster, for a policy that is not applied yet:

  kubectl get namespaces,nodes,pods -A -o yaml > cluster.yaml
  helm template edge ./chart | ebbtide-placement explain --offline --policies policy.yaml --policies cluster.yaml -f -

What can be asked about: Pod, Deployment, ReplicaSet, StatefulSet, DaemonSet, Job, CronJob, ReplicationController, and
Lists of them. What a file says of policies, namespaces, nodes, and pods that have their node, wins over the cluster.

Flags:
  -f, --filename FILE   YAML or JSON to explain; - is standard input; may be given more than once
  --policies FILE       policies to decide by, and whatever else is to be known, with nothing in it explained; may be
                        given more than once
  -n, --namespace NAME  of objects that name none (default: the context's, or "default")
  --offline             ask no cluster: what the files say is all that is known
  --kubeconfig FILE     how to reach the cluster (default: $KUBECONFIG, ~/.kube/config, the pod's service account; when
                        there is none of them, as with --offline)
  --context NAME        the context of the kubeconfig (default: its current one)
  --config FILE         the configuration of ebbtide-placement, for its mode and its spot labels
  --spot-label LABEL    KEY or KEY=VALUE of nodes that are spot, beside those that are known; may be given more than once
  -o, --output FORMAT   text or json (default text)
  --help                print this page, and end

Exit code: 0 when every pod was decided about, 1 when that could not be done or no pod was found, 2 for a mistake in
the flags or the configuration.
`

// explainName begins each line on stderr.
const explainName = "ebbtide-placement explain"

// The exit codes of explain.
const (
	exitDecided = iota
	exitUndecided
	exitMisused
)

// explain answers a question about placement and returns the exit code. It writes the
// answers to stdout, and what was assumed or went wrong to stderr.
func explain(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	// If nobody reads stderr any more, there is nobody left to tell.
	tell := func(what any) { _, _ = fmt.Fprintf(stderr, "%s: %v\n", explainName, what) }
	q, err := readQuestion(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		_, _ = io.WriteString(stdout, explainUsage)
		return exitDecided
	case err != nil:
		tell(err)
		return exitMisused
	}
	found, err := q.answer(ctx, stdin)
	for _, note := range found.Notes {
		tell(note)
	}
	if err == nil {
		err = found.write(stdout, q.output)
	}
	if err != nil {
		tell(err)
		return exitUndecided
	}
	return exitDecided
}

// question is what the command line asks.
type question struct {
	// files are explained, and known; beside are only known. A "-" is standard input.
	files, beside []string
	// named are objects of the cluster.
	named []reference
	// namespace is that of objects that name none; empty is the context's.
	namespace           string
	offline             bool
	kubeconfig, context string
	output              string // outputText or outputJSON
	// config is read for its mode and its spot labels, of which the rules are made.
	config Config
	rules  placement.Rules
}

const (
	outputText = "text"
	outputJSON = "json"
)

// readQuestion reads the command line, and the configuration that it names.
func readQuestion(args []string) (question, error) {
	q := question{config: Default()}
	var (
		config string
		labels []string
	)
	set := flag.NewFlagSet(explainName, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for names, target := range map[string]*[]string{"f filename": &q.files, "policies": &q.beside, "spot-label": &labels} {
		for name := range strings.FieldsSeq(names) {
			set.Func(name, "", func(value string) error {
				*target = append(*target, value)
				return nil
			})
		}
	}
	for names, target := range map[string]*string{
		"n namespace": &q.namespace, "kubeconfig": &q.kubeconfig, "context": &q.context, "config": &config, "o output": &q.output,
	} {
		for name := range strings.FieldsSeq(names) {
			set.StringVar(target, name, "", "")
		}
	}
	set.BoolVar(&q.offline, "offline", false, "")
	q.output = outputText
	// Unlike the flag package, people write flags behind names as well.
	for rest := args; ; rest = set.Args()[1:] {
		if err := set.Parse(rest); err != nil {
			return question{}, err
		}
		if set.NArg() == 0 {
			break
		}
		named, err := readReference(set.Arg(0))
		if err != nil {
			return question{}, err
		}
		q.named = append(q.named, named)
	}
	if err := q.check(); err != nil {
		return question{}, err
	}
	return q, q.configure(config, labels)
}

// configure reads the program's own configuration, unless path is empty, and makes
// rules of it and of more labels that mean spot.
func (q *question) configure(path string, labels []string) error {
	var err error
	if path != "" {
		if q.config, err = Load(path); err != nil {
			return err
		}
	}
	for _, label := range labels {
		if _, err := placement.NewRules(spotMark(label)); err != nil {
			return fmt.Errorf("reading --spot-label: %w", err)
		}
	}
	q.config.Lifecycle.SpotLabels = slices.Concat(q.config.Lifecycle.SpotLabels, labels)
	whole := q.config
	// In a cluster these two come with the pod's environment, and not with the file.
	whole.Namespace, whole.Instance = cmp.Or(whole.Namespace, "default"), cmp.Or(whole.Instance, "explain")
	if err := whole.Validate(); err != nil {
		return fmt.Errorf("reading configuration %q: %w", path, err)
	}
	q.rules, err = q.config.Rules()
	return err
}

// check says what is asked for and cannot be.
func (q question) check() error {
	stdin := 0
	for _, file := range slices.Concat(q.files, q.beside) {
		if file == "-" {
			stdin++
		}
	}
	switch {
	case len(q.files)+len(q.named) == 0:
		return errors.New("nothing to explain is named: give -f FILE or KIND/NAME (--help has examples)")
	case stdin > 1:
		return errors.New("standard input is named more than once, and can be read once")
	case q.offline && len(q.named) > 0:
		return fmt.Errorf("%s is an object of the cluster, and --offline asks none", q.named[0])
	case q.offline && q.kubeconfig+q.context != "":
		return errors.New("--offline asks no cluster, and --kubeconfig or --context names one")
	case q.output != outputText && q.output != outputJSON:
		return fmt.Errorf("--output: %q is not one of %s, %s", q.output, outputText, outputJSON)
	}
	return nil
}

// answers are what was asked for, and what is to be known of all of them.
type answers struct {
	// Notes say what was assumed and what could not be read, a sentence without a full
	// stop each.
	Notes        []string                `json:"notes"`
	Explanations []placement.Explanation `json:"explanations"`
}

// write writes the explanations as text, or everything as JSON.
func (a answers) write(to io.Writer, output string) error {
	if output == outputJSON {
		encoder := json.NewEncoder(to)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(a); err != nil {
			return fmt.Errorf("writing the explanations: %w", err)
		}
		return nil
	}
	for i, explanation := range a.Explanations {
		if i > 0 {
			if _, err := io.WriteString(to, "\n"); err != nil {
				return fmt.Errorf("writing the explanations: %w", err)
			}
		}
		if err := explanation.WriteText(to); err != nil {
			return err
		}
	}
	return nil
}
