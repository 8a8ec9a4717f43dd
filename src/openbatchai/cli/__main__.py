from openbatchai.cli import main

main()
