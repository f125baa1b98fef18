"""The colours and dashes of figures."""

# Okabe and Ito's palette, told apart by readers who do not see all colours; the dash tells them apart in print.
STYLES = {"DePT": ("#0072B2", "solid"), "PT": ("#D55E00", "dash")}
