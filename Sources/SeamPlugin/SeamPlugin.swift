import CSeam
