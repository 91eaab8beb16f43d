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
	"strings"
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
	Status() metadatatest.Status
	Control() http.Handler
}

// Program is a fake as a program. All fields are needed.
type Program struct {
	// Name is that of the program; Usage is what --help says before the flags.
	Name, Usage string
	// Faults are those that the fake can have, and Control lists what its Control
	// answers.
	Faults  metadatatest.Definitions
	Control string
	// Flags adds the fake's own flags, and returns what starts it once they were
	// read. Its error goes to the user.
	Flags func(flags *flag.FlagSet) (start func(Listen) (Service, error))
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
	fault            metadatatest.Fault
	start            func(Listen) (Service, error)
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
	flags.BoolVar(&o.listen.KeepAlive, "keep-alive", false, "serve more than one request on a connection")
	o.start = p.Flags(flags)
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
		var err error
		if o.fault, err = p.Faults.Parse(fault); err != nil {
			wrong = append(wrong, fmt.Errorf("--fault: %w", err))
		}
	}
	if err := checkAddress(o.listen.Address, o.allowNonLoopback); err != nil {
		wrong = append(wrong, fmt.Errorf("--listen: %w", err))
	}
	if o.control != "" {
		if err := checkAddress(o.control, o.allowNonLoopback); err != nil {
			wrong = append(wrong, fmt.Errorf("--control: %w", err))
		}
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
