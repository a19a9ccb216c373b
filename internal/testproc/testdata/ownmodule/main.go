// Command ownmodule belongs to a module of its own and says so.
package main

import "fmt"

func main() {
	fmt.Println("ready: a module of its own")
}
