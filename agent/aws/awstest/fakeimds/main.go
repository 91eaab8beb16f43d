// Command fakeimds serves the fake EC2 metadata service of package awstest, for
// trying the agent by hand.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
)

const usage = `fakeimds serves a fake EC2 metadata service (IMDSv2) until it is interrupted,
and then says what it was asked for.

Try the agent against it: in one terminal, a notice of two minutes that comes
after half a minute,

    go run ./agent/aws/awstest/fakeimds --interrupt-after 30s --control 127.0.0.1:1339

and in another an agent that has this in agent.yaml:

    aws:
      endpoint: http://127.0.0.1:1338

    ebbtide-agent --config agent.yaml --node-name my-node --dry-run

While both run, change the weather:

    curl -X PUT http://127.0.0.1:1339/fault/hanging-token
    curl -X DELETE http://127.0.0.1:1339/fault
    curl http://127.0.0.1:1339/

Flags:
`

type options struct {
	listen, control  string
	allowNonLoopback bool
	interruptAfter   *time.Duration // nil: never
	action           string
	notice           time.Duration
	takeBackAfter    *time.Duration // nil: never
	clockOffset      time.Duration
	fault            awstest.Fault
	faultFor         time.Duration
	keepAlive        bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the program: 0 at its end, 1 when it could not serve, 2 for a wrong
// command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opts, err := parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		for line := range strings.Lines(err.Error()) {
			_, _ = fmt.Fprintf(stderr, "fakeimds: %s\n", strings.TrimSpace(line))
		}
		_, _ = fmt.Fprintln(stderr, "fakeimds: --help explains")
		return 2
	}
	if err := serve(ctx, opts, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "fakeimds: %v\n", err)
		return 1
	}
	return 0
}

func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	var fault string
	flags := flag.NewFlagSet("fakeimds", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is said once, by run
	flags.StringVar(&o.listen, "listen", "127.0.0.1:1338", "`address` of the metadata service")
	flags.StringVar(&o.control, "control", "", "`address` of the control endpoint; none when empty")
	flags.BoolVar(&o.allowNonLoopback, "allow-non-loopback", false, "allow addresses that other machines or network namespaces can reach")
	flags.Func("interrupt-after", "let a notice come after this `duration`; without it none comes", optional(&o.interruptAfter))
	flags.StringVar(&o.action, "action", "terminate", "what the notice announces: terminate, stop or hibernate")
	flags.DurationVar(&o.notice, "notice", 2*time.Minute, "how long before the interruption the notice comes")
	flags.Func("take-back-after", "let the notice vanish this `duration` after it came; without it it stays", optional(&o.takeBackAfter))
	flags.DurationVar(&o.clockOffset, "clock-offset", 0, "how far the cloud's clock is ahead of this one")
	flags.StringVar(&fault, "fault", "", "begin with the fault of this `name`; see below")
	flags.DurationVar(&o.faultFor, "fault-for", 0, "end the fault after this `duration`; never when 0")
	flags.BoolVar(&o.keepAlive, "keep-alive", false, "serve more than one request on a connection, unlike the real service")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			help(flags, stdout)
		}
		return o, err
	}
	return o, o.check(flags.Args(), fault)
}

// optional reads a duration that has no default.
func optional(to **time.Duration) func(string) error {
	return func(value string) error {
		d, err := time.ParseDuration(value)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is not a duration such as 30s", value)
		}
		*to = &d
		return nil
	}
}

// check reports every mistake of the command line at once.
func (o *options) check(rest []string, fault string) error {
	var wrong []error
	if len(rest) > 0 {
		wrong = append(wrong, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if fault != "" {
		var err error
		if o.fault, err = awstest.ParseFault(fault); err != nil {
			wrong = append(wrong, fmt.Errorf("--fault: %w", err))
		}
	}
	if o.faultFor < 0 {
		wrong = append(wrong, fmt.Errorf("--fault-for: %s is negative", o.faultFor))
	}
	if o.notice < 0 {
		wrong = append(wrong, fmt.Errorf("--notice: %s is negative", o.notice))
	}
	for _, address := range []struct{ name, value string }{{"--listen", o.listen}, {"--control", o.control}} {
		if address.value == "" && address.name == "--control" {
			continue
		}
		if err := checkAddress(address.value, o.allowNonLoopback); err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", address.name, err))
		}
	}
	if o.takeBackAfter != nil && o.interruptAfter == nil {
		wrong = append(wrong, errors.New("--take-back-after: there is no --interrupt-after"))
	}
	if o.faultFor != 0 && fault == "" {
		wrong = append(wrong, errors.New("--fault-for: there is no --fault"))
	}
	return errors.Join(wrong...)
}

// checkAddress refuses addresses from which the fake could be taken for the
// real service by something that is not under test. Names are refused too, as
// what they stand for may change.
func checkAddress(address string, allowNonLoopback bool) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:1338", address)
	}
	if ip := net.ParseIP(host); (ip == nil || !ip.IsLoopback()) && !allowNonLoopback {
		return fmt.Errorf("%q is not a loopback address, which needs --allow-non-loopback", address)
	}
	return nil
}

func help(flags *flag.FlagSet, w io.Writer) {
	_, _ = io.WriteString(w, usage)
	flags.SetOutput(w)
	flags.PrintDefaults()
	_, _ = io.WriteString(w, "\nFaults, and what a careful client can know under each:\n")
	for _, f := range awstest.Faults() {
		_, _ = fmt.Fprintf(w, "  %-19s %-18s %s\n", f, f.Effect(), f.Doc())
	}
	_, _ = io.WriteString(w, "\nThe control endpoint answers:\n"+awstest.ControlHelp)
}

// serve runs the service until ctx ends.
func serve(ctx context.Context, o options, stdout io.Writer) error {
	log := newTrace(stdout)
	s, err := awstest.Start(awstest.Options{Listen: o.listen, KeepAlive: o.keepAlive, Trace: log.request})
	if err != nil {
		return err
	}
	defer s.Close()
	log.printf("Serving the metadata service at %s", s.URL())
	if o.control != "" {
		address, stop, err := serveControl(ctx, s, o.control)
		if err != nil {
			return err
		}
		defer stop()
		log.printf("Serving the control endpoint at http://%s", address)
	}

	s.SetClockOffset(o.clockOffset)
	if o.interruptAfter != nil {
		s.InterruptAfter(*o.interruptAfter, o.action, o.notice)
		if o.takeBackAfter != nil {
			s.TakeBackAfter(*o.interruptAfter + *o.takeBackAfter)
		}
	}
	if err := hold(ctx, s, o, log); err != nil {
		return err
	}
	summarise(stdout, s.Status())
	return nil
}

// hold keeps the fault of the command line for as long as asked, and returns
// when ctx ends.
func hold(ctx context.Context, s *awstest.Server, o options, log *trace) error {
	if o.fault == "" {
		<-ctx.Done()
		return nil
	}
	if err := s.SetFault(o.fault); err != nil {
		return err
	}
	log.printf("Fault %s: %s", o.fault, o.fault.Doc())
	if o.faultFor > 0 {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(o.faultFor):
		}
		// The control endpoint may have put another fault in its place.
		if s.Fault() == o.fault {
			if err := s.ClearFault(); err != nil {
				return err
			}
			log.printf("Fault %s is over", o.fault)
		}
	}
	<-ctx.Done()
	return nil
}

func serveControl(ctx context.Context, s *awstest.Server, address string) (bound string, stop func(), err error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return "", nil, fmt.Errorf("listening on %q: %w", address, err)
	}
	server := &http.Server{Handler: s.Control(), ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l) // ends when stop closes it
	}()
	return l.Addr().String(), func() {
		_ = server.Close()
		<-done
	}, nil
}

func summarise(w io.Writer, status awstest.Status) {
	_, _ = fmt.Fprintf(w, "\nRequests (at most %d in any ten seconds):\n", status.PeakPer10s)
	for _, key := range slices.Sorted(maps.Keys(status.Requests)) {
		_, _ = fmt.Fprintf(w, "%8d  %s\n", status.Requests[key], key)
	}
	if !status.NoticeReadAt.IsZero() {
		_, _ = fmt.Fprintf(w, "The notice was first read at %s.\n", status.NoticeReadAt.Format(timeOfDay))
	}
}
