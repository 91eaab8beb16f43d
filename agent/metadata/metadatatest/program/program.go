// Package program is the program around a fake metadata service: it serves the
// fake, for trying the agent by hand, until it is interrupted, and then says what
// the fake was asked for. Which fake, and what it announces, is the business of a
// main package of a few lines; that of azuretest is the example.
package program

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// Service is a fake that runs: a [metadatatest.Server], and a Control with the
// fake's own routes.
type Service interface {
	URL() string
	Close()
	SetClockOffset(offset time.Duration)
	SetFault(f metadatatest.Fault) error
	Fault() metadatatest.Fault
	ClearFault() error
	Status() metadatatest.Status
	Control() http.Handler
}

// Own is what a fake has beside the flags of all.
type Own struct {
	// Check returns what is wrong with the fake's own flags, one line for each mistake;
	// nil where nothing can be.
	Check func() error
	// Start starts the fake. Its error goes to the user.
	Start func(Listen) (Service, error)
}

// Program is a fake as a program. All fields are needed.
type Program struct {
	// Name is that of the program; Usage is what --help says before the flags.
	Name, Usage string
	// Faults are those that the fake can have, and Control lists what its Control
	// answers.
	Faults  metadatatest.Definitions
	Control string
	// Flags adds the fake's own flags, and returns what is done once they were read.
	Flags func(flags *flag.FlagSet) Own
}

// Listen is how a fake is to listen.
type Listen struct {
	Address   string
	KeepAlive bool
	Trace     func(metadatatest.Request)
}

type options struct {
	listen           Listen
	control          string
	allowNonLoopback bool
	clockOffset      time.Duration
	fault            metadatatest.Definition
	faultFor         time.Duration
	own              Own
}

// Main is the main of a fake's program: it runs until it is interrupted or terminated,
// and ends the process.
func (p Program) Main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := p.Run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// Run is the program until ctx ends: 0 then, 1 when it could not serve, 2 for a
// wrong command line.
func (p Program) Run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	o, err := p.parse(args, stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		for line := range strings.Lines(err.Error()) {
			_, _ = fmt.Fprintf(stderr, "%s: %s\n", p.Name, strings.TrimSpace(line))
		}
		_, _ = fmt.Fprintf(stderr, "%s: --help explains\n", p.Name)
		return 2
	}
	if err := serve(ctx, o, stdout); err != nil {
		_, _ = fmt.Fprintf(stderr, "%s: %v\n", p.Name, err)
		return 1
	}
	return 0
}

func (p Program) parse(args []string, stdout io.Writer) (options, error) {
	var o options
	var fault string
	flags := flag.NewFlagSet(p.Name, flag.ContinueOnError)
	flags.SetOutput(io.Discard) // what is wrong is said once, by Run
	flags.StringVar(&o.listen.Address, "listen", "127.0.0.1:1338", "`address` of the metadata service")
	flags.StringVar(&o.control, "control", "", "`address` of the control endpoint; none when empty")
	flags.BoolVar(&o.allowNonLoopback, "allow-non-loopback", false, "allow addresses that other machines or network namespaces can reach")
	flags.DurationVar(&o.clockOffset, "clock-offset", 0, "how far the cloud's clock is ahead of this one")
	flags.StringVar(&fault, "fault", "", "begin with the fault of this `name`; see below")
	flags.DurationVar(&o.faultFor, "fault-for", 0, "end the fault after this `duration`; never when 0")
	flags.BoolVar(&o.listen.KeepAlive, "keep-alive", false, "serve more than one request on a connection")
	o.own = p.Flags(flags)
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			p.help(flags, stdout)
		}
		return o, err
	}
	return o, p.check(&o, flags.Args(), fault)
}

// check reports every mistake of the command line at once.
func (p Program) check(o *options, rest []string, fault string) error {
	var wrong []error
	if len(rest) > 0 {
		wrong = append(wrong, fmt.Errorf("unexpected argument %q", rest[0]))
	}
	if fault != "" {
		name, err := p.Faults.Parse(fault)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("--fault: %w", err))
		}
		o.fault, _ = p.Faults.Find(name)
	}
	switch {
	case o.faultFor < 0:
		wrong = append(wrong, fmt.Errorf("--fault-for: %s is negative", o.faultFor))
	case o.faultFor > 0 && fault == "":
		wrong = append(wrong, errors.New("--fault-for: there is no --fault"))
	}
	if err := checkAddress(o.listen.Address, o.allowNonLoopback); err != nil {
		wrong = append(wrong, fmt.Errorf("--listen: %w", err))
	}
	if o.control != "" {
		if err := checkAddress(o.control, o.allowNonLoopback); err != nil {
			wrong = append(wrong, fmt.Errorf("--control: %w", err))
		}
	}
	if o.own.Check != nil {
		wrong = append(wrong, o.own.Check())
	}
	return errors.Join(wrong...)
}

// checkAddress refuses addresses from which the fake could be taken for a real
// service by something that is not under test. Names are refused, too, as what
// they stand for may change.
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

func (p Program) help(flags *flag.FlagSet, w io.Writer) {
	_, _ = io.WriteString(w, p.Usage+"\nFlags:\n")
	flags.SetOutput(w)
	flags.PrintDefaults()
	_, _ = io.WriteString(w, "\nFaults, and what a careful client can know under each:\n"+p.Faults.String())
	_, _ = io.WriteString(w, "\nThe control endpoint answers:\n"+p.Control)
}
