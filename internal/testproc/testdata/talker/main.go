// Command talker does what a process can do to the one who started it. Its
// first argument says what:
//
//	serve     says "ready on ADDRESS", answers each line on a connection with
//	          the same line, and exits 3 on SIGTERM
//	stubborn  says "ready" and ignores SIGTERM
//	flood N   writes N lines of 100 bytes to both streams, then "flood over"
//	die       says "bad day" and exits 4
//	env NAME  says "NAME=value", in the folder it was started in
//	child     starts itself as stubborn with the same stdout, says its process
//	          ID as "child PID", and exits
//	race      reads and writes one variable from two goroutines
package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

func main() {
	switch os.Args[1] {
	case "serve":
		serve()
	case "stubborn":
		term := make(chan os.Signal, 1)
		signal.Notify(term, syscall.SIGTERM)
		fmt.Println("ready")
		for range term {
			fmt.Println("not going")
		}
	case "flood":
		n, err := strconv.Atoi(os.Args[2])
		check(err)
		flood(n)
	case "die":
		fmt.Fprintln(os.Stderr, "bad day")
		os.Exit(4)
	case "env":
		dir, err := os.Getwd()
		check(err)
		fmt.Printf("%s=%s in %s\n", os.Args[2], os.Getenv(os.Args[2]), dir)
	case "child":
		cmd := exec.Command(os.Args[0], "stubborn")
		cmd.Stdout = os.Stdout
		check(cmd.Start())
		fmt.Println("child", cmd.Process.Pid)
	case "race":
		race()
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	go func() {
		for {
			conn, err := l.Accept()
			check(err)
			go func() {
				in := bufio.NewScanner(conn)
				for in.Scan() {
					fmt.Fprintln(conn, in.Text())
				}
			}()
		}
	}()
	fmt.Fprintln(os.Stderr, "ready on", l.Addr())
	<-term
	fmt.Print("going without a line's end")
	os.Exit(3)
}

func flood(n int) {
	var wg sync.WaitGroup
	for name, out := range map[string]*os.File{"O": os.Stdout, "E": os.Stderr} {
		wg.Go(func() {
			w := bufio.NewWriter(out)
			for range n {
				fmt.Fprintln(w, strings.Repeat(name, 99))
			}
			check(w.Flush())
		})
	}
	wg.Wait()
	fmt.Println("flood over")
}

func race() {
	var n int
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for range 1000 {
				n++
			}
		})
	}
	wg.Wait()
	fmt.Println("raced", n)
}
